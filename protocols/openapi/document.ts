/** The OpenAPI 3.1 document: the table of routes, with everything they have in common written out. */
import type { Route } from '../../lib/http/routes.ts'
import { MAX_FILES } from '../../lib/input/input.ts'
import { maxUploadBytes } from '../../lib/process/settings.ts'
import { version } from '../../lib/process/version.ts'
import type { Service } from '../service.ts'
import { type Contents, createContents } from './contents.ts'
import { content, type Json, ref, schemas, TEXT } from './schemas.ts'

const MEANINGS: Record<number, string> = {
  400: 'The request is malformed, or does not fit the model.',
  401: 'The token is missing or wrong.',
  404: 'There is no such model, version or file.',
  408: 'The body arrived too slowly.',
  413: 'Too many bytes, pixels, samples or predictions.',
  415: 'Not a format this server reads, or an image for a model that takes none.',
  422: 'The image is broken.',
  500: 'An error of the server; its log has the cause.',
  503: 'The queue is full, or the server is stopping: try again later.',
  504: 'The time was up.',
}
/** Possible errors of every body. */
const BODY_ERRORS = [400, 408, 413, 415, 422, 500, 503, 504]

const HEADERS = { 'x-request-id': { description: "The request's own, or a new one.", schema: TEXT } }

/** @returns the document, to be sent as JSON */
export async function createDocument(service: Service): Promise<Json> {
  const { model, settings, routes } = service
  const contents = await createContents(service)
  const paths: Record<string, Json> = {}
  for (const route of routes.all) {
    const path = route.path.replace(/(?<!\\):(\w+)/g, '{$1}').replaceAll('\\', '')
    paths[path] ??= {}
    for (const method of route.methods)
      paths[path][method] = operation(service, contents, route, method, path)
  }
  const token = { type: 'http', scheme: 'bearer', description: 'The API_TOKEN of the server.' }
  const tags = new Map(routes.all.map(({ protocol: { name, description } }) => [name, { name, description }]))
  return {
    openapi: '3.1.1',
    info: {
      title: `${model.name} on onnxpress`,
      version: model.version,
      summary: 'An image classifier behind HTTP.',
      description:
        `Served by onnxpress ${version}. Limits: ${maxUploadBytes(settings)} bytes per body, ` +
        `${settings.MAX_QUEUE} samples or ${MAX_FILES} images per request, ${settings.MAX_PIXELS} pixels per image.`,
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/' }],
    security: settings.API_TOKEN ? [{ token: [] }] : [],
    tags: [...tags.values()],
    paths,
    components: { schemas: schemas(model), securitySchemes: settings.API_TOKEN ? { token } : {} },
  }
}

function operation(
  { model, settings }: Service,
  contents: Contents,
  { protocol, doc }: Route,
  method: string,
  path: string,
): Json {
  const values: Record<string, string> = { model: model.name, version: model.version }
  const pathParameters = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    in: 'path',
    name,
    required: true,
    schema: { enum: [values[name]] },
  }))
  const needsToken = settings.API_TOKEN !== '' && !doc.isOpen
  const statuses = [
    ...(doc.body ? BODY_ERRORS : []),
    ...(pathParameters.length > 0 ? [404] : []),
    ...(needsToken ? [401] : []),
    ...(doc.errors ?? []),
  ]
  return {
    tags: [protocol.name],
    operationId: [method, ...(path.match(/\w+/g) ?? ['page'])].join('_'),
    summary: doc.summary,
    ...(settings.API_TOKEN && doc.isOpen && { security: [] }),
    parameters: [...pathParameters, ...(doc.query ? contents.query[doc.query] : [])],
    ...(doc.body && { requestBody: { required: true, content: contents.body[doc.body] } }),
    responses: {
      200: { description: 'Success.', headers: HEADERS, content: contents.response[doc.response] },
      ...errorResponses(statuses, protocol.error),
    },
  }
}

function errorResponses(statuses: number[], protocolSchema: string): Json {
  const responses: Json = {}
  for (const status of new Set(statuses.sort())) {
    // the token is checked before the protocol is known
    const schema = status === 401 ? 'Problem' : protocolSchema
    const type = schema === 'Problem' ? 'application/problem+json' : 'application/json'
    responses[status] = {
      description: MEANINGS[status],
      headers: HEADERS,
      content: content(type, ref(schema)),
    }
  }
  return responses
}
