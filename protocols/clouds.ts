/** The clouds' container contracts: SageMaker's /invocations, Vertex AI's routes from the environment. */
import { type Handler, literalPath } from '../lib/http/routes.ts'
import { StartError } from '../lib/inference/errors.ts'
import { PROBES } from '../lib/security/bearer_auth.ts'
import { type Service, sendReadiness } from './service.ts'
import { predictInstances } from './tf_serving.ts'

/**
 * Declare these routes after all others: a path from the environment must not replace one of ours.
 *
 * @param predict the handler of /predict, which is SageMaker's route too; its /ping is TorchServe's
 * @throws StartError when a path from the environment is already a route
 */
export function addClouds(service: Service, predict: Handler): void {
  const { model, routes, settings } = service
  const { AIP_HEALTH_ROUTE: health, AIP_PREDICT_ROUTE: vertex } = settings
  const description = 'Amazon SageMaker and Google Vertex AI.'
  const route = routes.of({ name: 'Clouds', description, error: 'Problem' })
  const summary = 'Classify an image or a tensor'
  const checkFree = (name: string, path: string, example: string) => {
    const taken = routes.patternOf(path)
    if (taken === undefined) return
    const cause =
      path === health && path === vertex ? 'it is the health route too' : `the server has a route ${taken}`
    throw new StartError(`${name}=${path}: ${cause}: choose another path, such as ${example}`)
  }

  route('post /invocations', predict, { summary, body: 'bytes', takesTopK: true, response: 'result' })
  // a health route of ours may be named
  if (health && !PROBES.includes(health)) {
    checkFree('AIP_HEALTH_ROUTE', health, '/health, or use /readyz')
    route(`get ${literalPath(health)}`, (ctx) => sendReadiness(ctx, service), {
      summary: 'Whether the server is ready for requests',
      response: 'readiness',
      otherStatus: 503,
      isOpen: true,
    })
  }
  // so may the route that responds as Vertex AI's does
  if (vertex && vertex !== `/v1/models/${model.name}:predict`) {
    checkFree('AIP_PREDICT_ROUTE', vertex, '/vertex')
    const doc = { summary, body: 'instances', response: 'predictions' } as const
    // errors have the shape of the path, which is TF Serving's for Vertex AI's own paths
    const error = /^\/v[12]\//.test(vertex) ? 'ErrorMessage' : 'Problem'
    routes.of({ name: 'Clouds', description, error })(
      `post ${literalPath(vertex)}`,
      predictInstances(service),
      doc,
    )
  }
}
