/** TF Serving's and KServe's V1 protocol, which Vertex AI speaks too: `{"instances":[...]}` in, `{"predictions":[...]}` out. */
import { type Request, type RequestHandler, Router } from 'express'
import { allowOnly, type ErrorShape } from '../lib/http/problem.ts'
import type { Service } from '../lib/http/service.ts'
import { RequestError } from '../lib/inference/errors.ts'

/** Answers a request always with a list, each entry as /predict answers it. */
export function predictInstances({ predict, settings }: Service): RequestHandler {
  return async (req, res) => {
    res.json({ predictions: await predict(req, res, settings.TOP_K) })
  }
}

export function tfServing(service: Service): Router {
  const { model } = service
  const router = Router()
  const checkName = ({ params }: Request) => {
    if (params.model !== model.name) throw new RequestError(404, `model ${params.model} is not found`)
  }
  const predict = predictInstances(service)

  router
    .route('/v1/models/:model\\:predict')
    .post((req, res, next) => {
      checkName(req)
      return predict(req, res, next)
    })
    .all(allowOnly('POST'))
  router
    .route('/v1/models')
    .get((_req, res) => res.json({ models: [model.name] }))
    .all(allowOnly('GET'))
  router
    .route('/v1/models/:model')
    .get((req, res) => {
      checkName(req)
      res.json({ name: model.name, ready: service.isReady() })
    })
    .all(allowOnly('GET'))
  return router
}

export const tfServingError: ErrorShape = ({ message }) => ({ error: message })
