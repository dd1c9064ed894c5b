/** The container contracts of the clouds: SageMaker's /invocations, Vertex AI's routes from the environment. */
import { type RequestHandler, Router } from 'express'
import { PROBES } from '../lib/http/bearer_auth.ts'
import { allowOnly } from '../lib/http/problem.ts'
import type { Service } from '../lib/http/service.ts'
import { StartError } from '../lib/inference/errors.ts'
import { predictInstances } from './tf_serving.ts'

/**
 * @param predict the handler of /predict, which SageMaker's route is
 * @returns routes; SageMaker's /ping is TorchServe's
 */
export function sageMaker(predict: RequestHandler): Router {
  const router = Router()
  router.route('/invocations').post(predict).all(allowOnly('POST'))
  return router
}

/** Whether our own health routes answer at Vertex AI's. */
export function isOwnHealthRoute(path: string): boolean {
  return PROBES.includes(path)
}

/**
 * @param ownRoute the pattern of the route of ours that answers a path, if any
 * @throws StartError when a path from the environment is taken: a health route needs no token, and must lead nowhere else
 */
export function vertexAi(service: Service, ownRoute: (path: string) => string | undefined): Router {
  const { AIP_HEALTH_ROUTE, AIP_PREDICT_ROUTE } = service.settings
  const router = Router()
  if (AIP_HEALTH_ROUTE && !isOwnHealthRoute(AIP_HEALTH_ROUTE)) {
    checkFree('AIP_HEALTH_ROUTE', AIP_HEALTH_ROUTE, '/health, or /readyz, which this server has')
    router
      .route(exactly(AIP_HEALTH_ROUTE))
      .get((_req, res) => res.status(service.isReady() ? 200 : 503).json({ ready: service.isReady() }))
      .all(allowOnly('GET'))
  }
  if (AIP_PREDICT_ROUTE && !isOwnPredictRoute(AIP_PREDICT_ROUTE, service)) {
    checkFree('AIP_PREDICT_ROUTE', AIP_PREDICT_ROUTE, '/vertex')
    router.route(exactly(AIP_PREDICT_ROUTE)).post(predictInstances(service)).all(allowOnly('POST'))
  }
  return router

  function checkFree(name: string, path: string, better: string): void {
    const taken = ownRoute(path)
    const isSame = path === AIP_HEALTH_ROUTE && path === AIP_PREDICT_ROUTE
    if (!taken && !isSame) return
    const fault = taken ? `${taken} is a route of this server` : 'the health and the predict route are one'
    throw new StartError(`${name}=${path}: ${fault}: choose another path, such as ${better}`)
  }
}

/** V1's route answers as Vertex AI's does. */
export function isOwnPredictRoute(path: string, { model }: Service): boolean {
  return path === `/v1/models/${model.name}:predict`
}

/** Vertex AI's own default has a colon in it, which Express would take for a parameter. */
function exactly(path: string): RegExp {
  return new RegExp(`^${path.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$`)
}
