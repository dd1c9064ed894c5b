/** TF Serving's and KServe's V1 protocol, which Vertex AI uses too: `{"instances":[...]}` in, `{"predictions":[...]}` out. */

import type { RequestContext } from '../lib/http/context.ts'
import type { ErrorShape } from '../lib/http/error_response.ts'
import type { Handler } from '../lib/http/routes.ts'
import { RequestError } from '../lib/inference/errors.ts'
import type { Service } from './service.ts'

/** Responds with a list, whose entries are what /predict responds with. */
export function predictInstances({ admit, classify }: Service): Handler {
  return admit(async (ctx) => {
    const predictions = await classify(ctx)
    ctx.noteResults(predictions)
    ctx.res.json({ predictions })
  })
}

export function addTfServing(service: Service): void {
  const { model, isReady, routes } = service
  const route = routes.of({
    name: 'KServe V1',
    description: "TF Serving's REST API, the first version of KServe's.",
    error: 'Error',
  })
  const predict = predictInstances(service)
  const checkName = ({ req }: RequestContext) => {
    if (req.params.model !== model.name) {
      throw new RequestError(404, `model ${req.params.model} is not found: this server has ${model.name}`)
    }
  }

  route(
    'post /v1/models/:model\\:predict',
    (ctx) => {
      checkName(ctx)
      return predict(ctx)
    },
    { summary: 'Classify images or tensors', body: 'instances', response: 'predictions' },
  )
  route('get /v1/models', ({ res }) => res.json({ models: [model.name] }), {
    summary: 'The models',
    response: 'object',
  })
  route(
    'get /v1/models/:model',
    (ctx) => {
      checkName(ctx)
      ctx.res.json({ name: model.name, ready: isReady() })
    },
    { summary: 'Whether the model is ready', response: 'readiness' },
  )
}

export const tfServingError: ErrorShape = ({ message }) => ({ error: message })
