/** The OpenAPI 3.1 document, written from the table of routes and what all routes share. */
import { readFile } from 'node:fs/promises'
import { basename } from 'node:path'
import type { RequestBody, ResponseBody, Route } from '../../lib/http/routes.ts'
import { DTYPES, sizeOf } from '../../lib/inference/tensor.ts'
import { nest } from '../../lib/input/nested_lists.ts'
import type { Model } from '../../lib/model/model_info.ts'
import { maxUploadBytes } from '../../lib/process/settings.ts'
import { version } from '../../lib/process/version.ts'
import { encodePng, sampleDims } from '../../preprocess/index.ts'
import { DATATYPES } from '../open_inference/tensors.ts'
import type { Service } from '../service.ts'
import { BINARY, type Json, list, ref, schemas, TEXT } from './schemas.ts'

const MEANINGS: Record<number, string> = {
  400: 'The request is malformed, or does not fit the model.',
  401: 'The token is missing or wrong.',
  404: 'There is no such model, version or file.',
  408: 'The body arrived too slowly.',
  413: 'Too many bytes, pixels, samples or predictions.',
  415: 'An unsupported format, or an image for a model that takes none.',
  422: 'The image is broken.',
  500: 'An error in the server; its log has the cause.',
  503: 'The queue is full, or the server is stopping: try again later.',
  504: 'There was no result in time.',
}
const NOT_READY = 'The server is stopping, or its model is being loaded again.'
/** Possible errors of every body. */
const BODY_ERRORS = [400, 408, 413, 415, 422, 500, 503, 504]

/** Most numbers in an example. */
const MAX_EXAMPLE = 1000

const HEADERS = { 'x-request-id': { $ref: '#/components/headers/RequestId' } }

/** By media type. */
const RESPONSES: Record<ResponseBody, Json> = {
  result: json(ref('Result')),
  'TorchServe result': json(ref('TorchServeResult')),
  predictions: json(ref('Predictions')),
  inference: { ...json(ref('InferResponse')), 'application/octet-stream': { schema: BINARY } },
  model: json(ref('Model')),
  status: json(ref('Status')),
  readiness: json(ref('Readiness')),
  text: { 'text/plain': { schema: TEXT } },
  object: json({ type: 'object' }),
  list: json(list({ type: 'object' })),
  html: { 'text/html': { schema: TEXT } },
  page: { ...json(ref('Status')), 'text/html': { schema: TEXT } },
  image: { 'image/png': { schema: BINARY }, 'image/jpeg': { schema: BINARY } },
  'tensor or image': {
    'application/octet-stream': { schema: BINARY },
    'image/png': { schema: BINARY },
  },
}

function json(schema: Json, example?: unknown): Json {
  return { 'application/json': { schema, ...(example !== undefined && { example }) } }
}

/** @returns the document, to be sent as JSON */
export async function createDocument(service: Service): Promise<Json> {
  const { model, settings, routes } = service
  const document = new Document(service, await requestBodies(model))
  const paths: Record<string, Json> = {}
  for (const route of routes.all) {
    const path = route.path.replace(/(?<!\\):(\w+)/g, '{$1}').replaceAll('\\', '')
    paths[path] ??= {}
    for (const method of route.methods) paths[path][method] = document.operation(route, method, path)
  }
  const token = { type: 'http', scheme: 'bearer', description: 'The API_TOKEN of the server.' }
  const tags = new Map(routes.all.map(({ protocol: { name, description } }) => [name, { name, description }]))
  return {
    openapi: '3.1.1',
    info: {
      title: 'onnxpress',
      version,
      summary: 'An image classifier over HTTP.',
      description:
        `The model is ${model.name}, version ${model.version}. Limits: ${maxUploadBytes(settings)} bytes per body, ` +
        `${settings.MAX_QUEUE} samples per request, ${settings.MAX_PIXELS} pixels per image.`,
      license: { name: 'MIT', identifier: 'MIT' },
    },
    // where this document is: the app may be mounted below a path, or behind a proxy that strips one
    servers: [{ url: '.' }],
    security: settings.API_TOKEN ? [{ token: [] }] : [],
    tags: [...tags.values()],
    paths,
    components: {
      schemas: schemas(model),
      headers: { RequestId: { description: "The request's own id, or a new one.", schema: TEXT } },
      responses: document.errors,
      ...(settings.API_TOKEN && { securitySchemes: { token } }),
    },
  }
}

class Document {
  /** the error responses that operations refer to */
  readonly errors: Record<string, Json> = {}
  readonly #service: Service
  readonly #bodies: Record<RequestBody, Json>

  constructor(service: Service, bodies: Record<RequestBody, Json>) {
    this.#service = service
    this.#bodies = bodies
  }

  operation({ protocol, doc }: Route, method: string, path: string): Json {
    const { model, settings } = this.#service
    // PUT sends the bare file, as curl -T does
    const body = method === 'put' ? 'bytes' : doc.body
    const sample = basename(model.samplePaths[0] ?? '')
    const values: Record<string, string> = { model: model.name, version: model.version, sample }
    const pathParameters = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
      in: 'path',
      name,
      required: true,
      schema: TEXT,
      example: values[name],
    }))
    const needsToken = settings.API_TOKEN !== '' && !doc.isOpen
    const statuses = [
      ...(body ? BODY_ERRORS : []),
      ...(pathParameters.length > 0 ? [404] : []),
      ...(needsToken ? [401] : []),
      ...(doc.errors ?? []),
    ].sort()
    const success = { description: 'Success.', headers: HEADERS, content: RESPONSES[doc.response] }
    return {
      tags: [protocol.name],
      operationId: [method, ...(path.match(/\w+/g) ?? ['page'])].join('_'),
      summary: doc.summary,
      ...(doc.description && { description: doc.description }),
      ...(settings.API_TOKEN && doc.isOpen && { security: [] }),
      parameters: [
        ...pathParameters,
        ...(body === 'bytes' ? TENSOR_QUERY : []),
        ...(doc.takesTopK ? [topKQuery(settings.TOP_K)] : []),
      ],
      ...(body && { requestBody: { required: true, content: this.#bodies[body] } }),
      responses: {
        200: success,
        ...(doc.otherStatus && { [doc.otherStatus]: { ...success, description: NOT_READY } }),
        ...Object.fromEntries(statuses.map((status) => [status, this.#error(status, protocol.error)])),
      },
    }
  }

  #error(status: number, schema: string): Json {
    const name = `${schema}${status}`
    const type = schema === 'Problem' ? 'application/problem+json' : 'application/json'
    const content = { [type]: { schema: ref(schema) } }
    this.errors[name] ??= { description: MEANINGS[status], headers: HEADERS, content }
    return { $ref: `#/components/responses/${name}` }
  }
}

/** How to read raw bytes as a tensor. */
const TENSOR_QUERY = [
  {
    in: 'query',
    name: 'dims',
    description:
      'If the bytes are a tensor: its dims, such as 1,28,28. The batch axis may be left out; a batch gets a list of results.',
    schema: { ...TEXT, pattern: '^[1-9][0-9]{0,8}(,[1-9][0-9]{0,8}){0,7}$' },
  },
  {
    in: 'query',
    name: 'dtype',
    description: "The tensor's dtype, if it is not the model's.",
    schema: { ...TEXT, enum: [...DTYPES] },
  },
]

function topKQuery(byDefault: number): Json {
  return {
    in: 'query',
    name: 'top_k',
    description: 'Number of predictions in a single-label result, clipped to the number of classes.',
    schema: { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER, default: byDefault },
  }
}

/** With examples that fit the model, if they are short. */
async function requestBodies(model: Model): Promise<Record<RequestBody, Json>> {
  const { input, recipe } = model
  const dims = sampleDims(input, recipe)
  const zeros = new Array(sizeOf(dims)).fill(input.dtype === 'bool' ? false : 0)
  const short = <T>(example: T) => (zeros.length <= MAX_EXAMPLE ? example : undefined)
  const tensor = { name: input.name, datatype: DATATYPES[input.dtype], shape: [1, ...dims], data: zeros }
  const form = (name: string) => ({ 'multipart/form-data': { schema: ref(name) } })
  return {
    input: recipe ? form('ImageForm') : json(ref('Data'), short({ data: zeros, dims })),
    tensor: form('TensorForm'),
    bytes: { 'application/octet-stream': { schema: BINARY } },
    instances: json(
      ref('Instances'),
      recipe
        ? { instances: [{ b64: await exampleImage(model) }] }
        : short({ instances: nest(zeros, [1, ...dims]) }),
    ),
    inference: json(ref('InferRequest'), input.dtype === 'float16' ? undefined : short({ inputs: [tensor] })),
  }
}

/** The folder's sample, or a small grey square, in base64. */
async function exampleImage({ samplePath, recipe }: Model): Promise<string> {
  const sample = samplePath && (await readFile(samplePath, 'base64').catch(() => undefined))
  if (sample) return sample
  const channels = recipe?.channels ?? 3
  const data = new Uint8Array(64 * channels).fill(128)
  return Buffer.from(encodePng({ data, width: 8, height: 8, channels })).toString('base64')
}
