/** The container contracts of the clouds: SageMaker's /invocations, Vertex AI's routes from the environment. */
import { type RequestHandler, Router } from 'express'
import { allowOnly } from '../lib/http/problem.ts'
import type { Service } from '../lib/http/service.ts'
import { predictInstances } from './tf_serving.ts'

/**
 * @param predict the handler of /predict, which SageMaker's route is
 * @returns routes; SageMaker's /ping is TorchServe's
 */
export function clouds(service: Service, predict: RequestHandler): Router {
  const { AIP_HEALTH_ROUTE, AIP_PREDICT_ROUTE } = service.settings
  const router = Router()
  router.route('/invocations').post(predict).all(allowOnly('POST'))
  if (AIP_HEALTH_ROUTE) {
    router
      .route(exactly(AIP_HEALTH_ROUTE))
      .get((_req, res) => res.status(service.isReady() ? 200 : 503).json({ ready: service.isReady() }))
      .all(allowOnly('GET'))
  }
  if (AIP_PREDICT_ROUTE) {
    router.route(exactly(AIP_PREDICT_ROUTE)).post(predictInstances(service)).all(allowOnly('POST'))
  }
  return router
}

/** Vertex AI's own default has a colon in it, which Express would take for a parameter. */
function exactly(path: string): RegExp {
  return new RegExp(`^${path.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`)
}
