/** The OpenAPI 3.1 document: the tables of routes and schemas, with what they have in common written out. */

import type { Service } from '../../lib/http/service.ts'
import { MAX_FILES } from '../../lib/input/image_limit.ts'
import { maxUploadBytes } from '../../lib/process/settings.ts'
import { version } from '../../lib/process/version.ts'
import { listRoutes, type Protocol, type Route } from './routes.ts'
import { content, type Json, ref, schemas, TEXT } from './schemas.ts'

const MEANINGS: Record<number, string> = {
  400: 'The request is malformed, or does not fit the model.',
  401: 'The token is missing or wrong.',
  404: 'There is no such model, version or file.',
  408: 'The body came too slowly.',
  413: 'Too many bytes, pixels, samples or predictions.',
  415: 'Nothing that is read here, or an image for a model that takes none.',
  422: 'The image is broken.',
  500: 'A fault of the server; its log tells more.',
  503: 'The queue is full, or the server is stopping: try again later.',
  504: 'The time was up.',
}
/** what any body can come to */
const BODY_ERRORS = [400, 408, 413, 415, 422, 500, 503, 504]

/** @returns the document, to be sent as JSON */
export async function describeApi(service: Service): Promise<Json> {
  const { model, settings } = service
  const protocols = await listRoutes(service)
  const paths: Record<string, Json> = {}
  for (const protocol of protocols) {
    for (const route of protocol.routes) {
      const methods = route.at.split(' ')
      const path = methods.pop()!
      paths[path] ??= {}
      for (const method of methods) paths[path][method] = operation(service, protocol, route, method, path)
    }
  }
  const token = { type: 'http', scheme: 'bearer', description: 'The API_TOKEN of the server.' }
  return {
    openapi: '3.1.1',
    info: {
      title: `${model.name} on onnxpress`,
      version: model.version,
      summary: 'An image classifier behind HTTP.',
      description:
        `Served by onnxpress ${version}. A body has at most ${maxUploadBytes(settings)} bytes, a request ` +
        `${settings.MAX_QUEUE} samples or ${MAX_FILES} images, an image ${settings.MAX_PIXELS} pixels.`,
      license: { name: 'MIT', identifier: 'MIT' },
    },
    servers: [{ url: '/' }],
    security: settings.API_TOKEN ? [{ token: [] }] : [],
    tags: protocols.map(({ name, description }) => ({ name, description })),
    paths,
    components: { schemas: schemas(model), securitySchemes: settings.API_TOKEN ? { token } : {} },
  }
}

function operation(
  { model, settings }: Service,
  { name: tag, error }: Protocol,
  { summary, ok, body, query = [], errors = [], isOpen }: Route,
  method: string,
  path: string,
): Json {
  const values: Record<string, string> = { model: model.name, version: model.version }
  const named = [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
    in: 'path',
    name,
    required: true,
    schema: { enum: [values[name]] },
  }))
  const wantsToken = settings.API_TOKEN !== '' && !isOpen
  const statuses = [
    ...(body ? BODY_ERRORS : []),
    ...(named.length > 0 ? [404] : []),
    ...(wantsToken ? [401] : []),
    ...errors,
  ]
  const headers = { 'x-request-id': { description: "The request's own, or one given to it.", schema: TEXT } }
  const responses: Json = { 200: { description: 'The answer.', headers, content: ok } }
  for (const status of new Set(statuses.sort())) {
    // the token is asked for before any protocol has its say
    const schema = status === 401 ? 'Problem' : error
    const type = schema === 'Problem' ? 'application/problem+json' : 'application/json'
    responses[status] = { description: MEANINGS[status], headers, content: content(type, ref(schema)) }
  }
  return {
    tags: [tag],
    operationId: [method, ...(path.match(/\w+/g) ?? ['page'])].join('_'),
    summary,
    ...(settings.API_TOKEN && isOpen && { security: [] }),
    parameters: [...named, ...query],
    ...(body && { requestBody: { required: true, content: body } }),
    responses,
  }
}
