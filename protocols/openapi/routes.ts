/** Every route that there is, a few lines each; a test holds this table to the app. */

import type { Service } from '../../lib/http/service.ts'
import { DTYPES } from '../../lib/inference/tensor.ts'
import { sampleDims } from '../../preprocess/index.ts'
import { isOwnHealthRoute, isOwnPredictRoute } from '../clouds.ts'
import { BINARY, content, inferExample, inputBody, type Json, OBJECT, ref, TEXT } from './schemas.ts'

export interface Route {
  /** one method or several, and the path */
  at: string
  summary: string
  /** content of the answer with status 200 */
  ok: Json
  /** content of the request's body */
  body?: Json
  query?: Json[]
  /** statuses of errors, besides those that follow from a body, a name in the path or the token */
  errors?: number[]
  /** needs no token */
  isOpen?: boolean
}

export interface Protocol {
  name: string
  description: string
  /** schema of its errors */
  error: string
  routes: Route[]
}

const text = content('text/plain', TEXT)
const json = (schema: Json) => content('application/json', schema)
const status = json({ ...OBJECT, required: ['status'], properties: { status: TEXT } })
const readiness = json({
  ...OBJECT,
  required: ['ready'],
  properties: { name: TEXT, ready: { type: 'boolean' } },
})
const object = json(OBJECT)

export async function listRoutes(service: Service): Promise<Protocol[]> {
  const body = await inputBody(service)
  return [
    onnxpress(service, body),
    torchServe(service, body),
    openInference(service),
    tfServing(service, body),
    clouds(service, body),
  ]
}

/** How raw bytes are to be read as a tensor. */
function tensorQuery({ model }: Service): Json[] {
  const dims = {
    type: 'string',
    pattern: '^[1-9][0-9]{0,8}(,[1-9][0-9]{0,8}){0,7}$',
    examples: [sampleDims(model.input, model.recipe).join()],
  }
  return [
    {
      in: 'query',
      name: 'dims',
      description: 'With bytes as the body: the dims of a tensor; the batch axis may be left out.',
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

/** A route that takes all that /predict takes; each answers it in its own way. */
function classify(service: Service, body: Json, ok: Json) {
  return { summary: 'Classify images or a tensor', body, query: tensorQuery(service), ok }
}

/** /predict itself, and what is it by another name. */
function predict(service: Service, body: Json) {
  const route = classify(service, body, { ...json(ref('Results')), ...text })
  const topK = {
    in: 'query',
    name: 'top_k',
    description: 'How many predictions a single-label answer lists; more than there are classes means all.',
    schema: {
      type: 'integer',
      minimum: 1,
      maximum: Number.MAX_SAFE_INTEGER,
      default: service.settings.TOP_K,
    },
  }
  return { ...route, query: [...route.query, topK] }
}

function onnxpress(service: Service, body: Json): Protocol {
  const { model } = service
  const query = tensorQuery(service)
  const images = { 'image/png': { schema: BINARY }, 'image/jpeg': { schema: BINARY } }
  const bytes = content('application/octet-stream', BINARY)
  const sample = { at: 'get /model/sample', summary: 'An example image', ok: images }
  return {
    name: 'onnxpress',
    description: 'Its own routes.',
    error: 'Problem',
    routes: [
      { at: 'post put /predict', ...predict(service, body) },
      { at: 'post /test', summary: 'The bare label of images or a tensor', body, query, ok: text },
      {
        at: 'post /preprocess',
        summary: 'What the model would see of images: its tensor, or a picture',
        body,
        ok: { ...bytes, 'image/png': { schema: BINARY } },
      },
      { at: 'get /model', summary: 'What is served', ok: json(ref('Model')) },
      model.samplePath ? sample : { ...sample, errors: [404] },
      { at: 'get /livez', summary: 'Whether the process is alive', ok: status, isOpen: true },
      {
        at: 'get /readyz',
        summary: 'Whether requests are answered',
        ok: status,
        errors: [503],
        isOpen: true,
      },
      { at: 'get /metrics', summary: "Metrics in Prometheus' text format", ok: text },
      { at: 'get /openapi.json', summary: 'This document', ok: object },
      {
        at: 'get /',
        summary: 'A page to draw on or drop images on',
        ok: content('text/html', TEXT),
        isOpen: true,
      },
      { at: 'get /docs', summary: 'This document as a page', ok: content('text/html', TEXT) },
    ],
  }
}

function torchServe(service: Service, body: Json): Protocol {
  const predictions = classify(service, body, { ...json(ref('TorchServeResults')), ...text })
  const model = { summary: 'The model and its queue', ok: json({ type: 'array', items: OBJECT }) }
  return {
    name: 'TorchServe',
    description: "TorchServe's inference API.",
    error: 'TorchServeError',
    routes: [
      { at: 'get /ping', summary: 'Whether requests are answered', ok: status, errors: [500], isOpen: true },
      { at: 'post put /predictions/{model}', ...predictions },
      { at: 'post put /predictions/{model}/{version}', ...predictions },
      { at: 'get /models', summary: 'The models', ok: object },
      { at: 'get /models/{model}', ...model },
      { at: 'get /models/{model}/{version}', ...model },
    ],
  }
}

function openInference({ model }: Service): Protocol {
  const metadata = { summary: 'The inputs and outputs of the graph', ok: object }
  const ready = { summary: 'Whether the model answers', ok: readiness, errors: [503] }
  const infer = {
    summary:
      'Run the graph: tensors in, tensors out. Binary tensors may follow the JSON, whose length is then in the header Inference-Header-Content-Length',
    body: { 'application/json': { schema: ref('InferRequest'), ...inferExample(model) } },
    ok: { ...json(ref('InferResponse')), ...content('application/octet-stream', BINARY) },
  }
  return {
    name: 'Open Inference Protocol',
    description: 'Version 2, of KServe, Triton and MLServer.',
    error: 'Error',
    routes: [
      { at: 'get /v2', summary: 'The server', ok: object },
      { at: 'get /v2/health/live', summary: 'Whether the process is alive', ok: object, isOpen: true },
      {
        at: 'get /v2/health/ready',
        summary: 'Whether requests are answered',
        ok: readiness,
        errors: [503],
        isOpen: true,
      },
      { at: 'get /v2/models/{model}', ...metadata },
      { at: 'get /v2/models/{model}/versions/{version}', ...metadata },
      { at: 'get /v2/models/{model}/ready', ...ready },
      { at: 'get /v2/models/{model}/versions/{version}/ready', ...ready },
      { at: 'post /v2/models/{model}/infer', ...infer },
      { at: 'post /v2/models/{model}/versions/{version}/infer', ...infer },
    ],
  }
}

function tfServing(service: Service, body: Json): Protocol {
  return {
    name: 'KServe V1',
    description: "TF Serving's REST API, KServe's first version.",
    error: 'Error',
    routes: [
      { at: 'get /v1/models', summary: 'The models', ok: object },
      { at: 'get /v1/models/{model}', summary: 'Whether the model answers', ok: readiness },
      {
        at: 'post /v1/models/{model}:predict',
        ...classify(service, body, json(ref('V1Predictions'))),
      },
    ],
  }
}

function clouds(service: Service, body: Json): Protocol {
  const { AIP_HEALTH_ROUTE, AIP_PREDICT_ROUTE } = service.settings
  const routes: Route[] = [{ at: 'post /invocations', ...predict(service, body) }]
  if (AIP_HEALTH_ROUTE && !isOwnHealthRoute(AIP_HEALTH_ROUTE)) {
    const summary = 'Whether requests are answered'
    routes.push({ at: `get ${AIP_HEALTH_ROUTE}`, summary, ok: readiness, errors: [503], isOpen: true })
  }
  if (AIP_PREDICT_ROUTE && !isOwnPredictRoute(AIP_PREDICT_ROUTE, service)) {
    const route = classify(service, body, json(ref('V1Predictions')))
    routes.push({ at: `post ${AIP_PREDICT_ROUTE}`, ...route })
  }
  return {
    name: 'Clouds',
    description: 'Amazon SageMaker and Google Vertex AI.',
    error: 'Problem',
    routes,
  }
}
