/** TorchServe's inference and model description routes, for its users' scripts: same paths, fields and errors. */
import { type Request, type Response, Router } from 'express'
import { allowOnly, type ErrorShape } from '../lib/http/problem.ts'
import type { Service } from '../lib/http/service.ts'
import { RequestError } from '../lib/inference/errors.ts'
import { type Answer, type Result, toText } from '../lib/inference/output_spec.ts'

/** TorchServe's Java exceptions, which its clients look at. */
const EXCEPTIONS: Record<number, string> = {
  400: 'BadRequestException',
  401: 'InvalidCredentialException',
  404: 'ModelNotFoundException',
  405: 'MethodNotAllowedException',
  413: 'RequestEntityTooLargeException',
  415: 'UnsupportedMediaTypeException',
  503: 'ServiceUnavailableException',
}

export function torchServe(service: Service): Router {
  const { model, settings } = service
  const answer = withUniqueLabels(model.answer)
  const router = Router()

  router
    .route('/ping')
    .get((_req, res) => {
      const isHealthy = service.isReady()
      res.status(isHealthy ? 200 : 500).json({ status: isHealthy ? 'Healthy' : 'Unhealthy' })
    })
    .all(allowOnly('GET'))

  const predictions = async (req: Request, res: Response) => {
    checkName(req)
    const isText = req.accepts(['json', 'text/plain']) === 'text/plain'
    const results = await service.predict(req, res, settings.TOP_K, isText ? model.answer : answer)
    if (isText) return res.type('text/plain').send(toText(results))
    const bodies = results.map(resultJson)
    res.type('json').send(bodies.length === 1 ? bodies[0] : `[${bodies}]`)
  }
  router
    .route(['/predictions/:model', '/predictions/:model/:version'])
    .post(predictions)
    .put(predictions)
    .all(allowOnly('POST', 'PUT'))

  router
    .route('/models')
    .get((_req, res) => res.json({ models: [{ modelName: model.name, modelUrl: model.name }] }))
    .all(allowOnly('GET'))
  router
    .route(['/models/:model', '/models/:model/:version'])
    .get((req, res) => {
      checkName(req)
      res.json([description()])
    })
    .all(allowOnly('GET'))

  function checkName({ params }: Request<Record<string, string | string[]>>): void {
    if (params.model !== model.name) throw new RequestError(404, `Model not found: ${params.model}`)
    if (params.version === undefined || params.version === model.version || params.version === 'all') return
    throw new RequestError(404, `Model version: ${params.version} does not exist for model: ${model.name}`)
  }

  function description() {
    const { rss } = process.memoryUsage()
    return {
      modelName: model.name,
      modelVersion: model.version,
      modelUrl: model.name,
      runtime: 'onnxruntime',
      minWorkers: 1,
      maxWorkers: 1,
      batchSize: model.batchSize,
      maxBatchDelay: settings.MAX_BATCH_DELAY_MS,
      loadedAtStartup: true,
      workers: [
        {
          id: String(process.pid),
          startTime: new Date(performance.timeOrigin).toISOString(),
          status: 'READY',
          memoryUsage: rss,
          pid: process.pid,
          gpu: model.device !== 'cpu',
          gpuUsage: model.device === 'cpu' ? 'N/A' : model.device,
        },
      ],
      jobQueueStatus: {
        remainingCapacity: settings.MAX_QUEUE - model.waiting,
        pendingRequests: model.waiting,
      },
    }
  }
  return router
}

/** In an object two classes of one name would overwrite each other: the later gets its number behind it. */
function withUniqueLabels(answer: Answer): Answer {
  const { labels } = answer
  const first = new Map([...labels.keys()].reverse().map((index) => [labels[index], index]))
  return {
    ...answer,
    labels: labels.map((label, index) => (first.get(label) === index ? label : `${label} ${index}`)),
  }
}

/** The body of image_classifier: `{"tabby":0.5,...}`, best first; of a regression the list of its numbers. */
function resultJson(result: Result): string {
  if (!('predictions' in result)) return JSON.stringify([result.prediction].flat())
  // written by hand: a JavaScript object would put labels that look like numbers first, in their order
  return `{${result.predictions.map(({ label, score }) => `${JSON.stringify(label)}:${JSON.stringify(score)}`)}}`
}

export const torchServeError: ErrorShape = ({ status, message }) => {
  const type = EXCEPTIONS[status] ?? 'InternalServerException'
  return { code: status, type, message }
}
