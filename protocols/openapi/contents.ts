/** The bodies and queries that routes refer to by name, with examples that fit the model. */
import { readFile } from 'node:fs/promises'
import type { ResponseBody, RouteDoc } from '../../lib/http/routes.ts'
import { DTYPES, sizeOf } from '../../lib/inference/tensor.ts'
import { MAX_FILES } from '../../lib/input/input.ts'
import type { Model } from '../../lib/model/model_info.ts'
import { encodePng, FORMATS, sampleDims } from '../../preprocess/index.ts'
import { DATATYPES } from '../open_inference/tensors.ts'
import type { Service } from '../service.ts'
import { BINARY, content, type Json, OBJECT, ref, TEXT } from './schemas.ts'

export interface Contents {
  /** by media type */
  response: Record<ResponseBody, Json>
  body: Record<NonNullable<RouteDoc['body']>, Json>
  /** lists of parameters */
  query: Record<NonNullable<RouteDoc['query']>, Json[]>
}

/** Most numbers in an example. */
const MAX_EXAMPLE = 1000

const json = (schema: Json) => content('application/json', schema)
const text = content('text/plain', TEXT)

export async function createContents({ model, settings }: Service): Promise<Contents> {
  const tensor = tensorQuery(model)
  return {
    response: RESPONSES,
    body: { input: await inputBody(model), inference: inferenceBody(model) },
    query: { tensor, 'tensor and top_k': [...tensor, topKQuery(settings.TOP_K)] },
  }
}

const RESPONSES: Contents['response'] = {
  results: { ...json(ref('Results')), ...text },
  'TorchServe results': { ...json(ref('TorchServeResults')), ...text },
  'V1 predictions': json(ref('V1Predictions')),
  inference: { ...json(ref('InferResponse')), ...content('application/octet-stream', BINARY) },
  model: json(ref('Model')),
  status: json({ ...OBJECT, required: ['status'], properties: { status: TEXT } }),
  readiness: json({
    ...OBJECT,
    required: ['ready'],
    properties: { name: TEXT, ready: { type: 'boolean' } },
  }),
  text,
  object: json(OBJECT),
  list: json({ type: 'array', items: OBJECT }),
  html: content('text/html', TEXT),
  image: { 'image/png': { schema: BINARY }, 'image/jpeg': { schema: BINARY } },
  'tensor or image': { ...content('application/octet-stream', BINARY), 'image/png': { schema: BINARY } },
}

/** How to read raw bytes as a tensor. */
function tensorQuery({ input, recipe }: Model): Json[] {
  const dims = {
    type: 'string',
    pattern: '^[1-9][0-9]{0,8}(,[1-9][0-9]{0,8}){0,7}$',
    examples: [sampleDims(input, recipe).join()],
  }
  return [
    {
      in: 'query',
      name: 'dims',
      description: 'When the body is bytes: the dims of the tensor; the batch axis may be left out.',
      schema: dims,
    },
    {
      in: 'query',
      name: 'dtype',
      description: "The tensor's dtype, if it is not the model's.",
      schema: { enum: [...DTYPES] },
    },
  ]
}

function topKQuery(byDefault: number): Json {
  return {
    in: 'query',
    name: 'top_k',
    description: 'Number of predictions of a single-label result, clipped to the number of classes.',
    schema: { type: 'integer', minimum: 1, maximum: Number.MAX_SAFE_INTEGER, default: byDefault },
  }
}

/** Everything that /predict reads, as far as the model can take it. */
async function inputBody(model: Model): Promise<Json> {
  const { recipe } = model
  const dims = sampleDims(model.input, recipe)
  const isScalar = sizeOf(dims) === 1 && !recipe
  const tensor = { data: new Array<number>(sizeOf(dims)).fill(0), dims }
  const images = recipe && { images: { value: { instances: [{ b64: await exampleImage(model) }] } } }
  const examples = { ...images, ...(sizeOf(dims) <= MAX_EXAMPLE && { tensor: { value: tensor } }) }
  const image = {
    image: { ...BINARY, description: `${FORMATS}; any name will do, up to ${MAX_FILES} files` },
  }
  const form = {
    ...OBJECT,
    properties: {
      ...(recipe && image),
      ...(isScalar && { value: { type: 'number' } }),
      data: { ...BINARY, description: "little-endian bytes of a tensor, which 'metadata' describes" },
      metadata: ref('Metadata'),
    },
  }
  const value = { ...OBJECT, required: ['value'], properties: { value: { type: 'number' } } }
  return {
    'multipart/form-data': { schema: form, encoding: { metadata: { contentType: 'application/json' } } },
    'application/json': { schema: { anyOf: [ref('Data'), ref('Instances')] }, examples },
    'application/octet-stream': {
      schema: { ...BINARY, description: recipe ? 'an image, or with dims a tensor' : 'with dims, a tensor' },
    },
    ...(isScalar && {
      'text/plain': { schema: TEXT, examples: { five: { value: '5' } } },
      'application/x-www-form-urlencoded': { schema: value },
    }),
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

/** With one sample of zeros as the example, if that is short. */
function inferenceBody({ input, recipe }: Model): Json {
  const { name, dtype } = input
  const shape = [1, ...sampleDims(input, recipe)]
  const data = new Array(sizeOf(shape)).fill(dtype === 'bool' ? false : 0)
  const zeros = { value: { inputs: [{ name, datatype: DATATYPES[dtype], shape, data }] } }
  const isShort = data.length <= MAX_EXAMPLE && dtype !== 'float16'
  return { 'application/json': { schema: ref('InferRequest'), ...(isShort && { examples: { zeros } }) } }
}
