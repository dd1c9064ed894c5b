/** TorchServe's inference and model description API: same paths, fields and errors, for its users' scripts. */

import type { RequestContext } from '../lib/http/context.ts'
import type { ErrorShape } from '../lib/http/error_response.ts'
import type { Handler } from '../lib/http/routes.ts'
import { RequestError } from '../lib/inference/errors.ts'
import type { OutputSpec } from '../lib/model/output_spec.ts'
import type { Result } from '../lib/model/predictions.ts'
import type { Service } from './service.ts'

/** TorchServe's Java exceptions, by which its clients tell errors apart. */
const EXCEPTIONS: Record<number, string> = {
  400: 'BadRequestException',
  401: 'InvalidCredentialException',
  403: 'BadRequestException',
  405: 'MethodNotAllowedException',
  408: 'BadRequestException',
  413: 'RequestEntityTooLargeException',
  415: 'UnsupportedMediaTypeException',
  421: 'BadRequestException',
  422: 'BadRequestException',
  503: 'ServiceUnavailableException',
  504: 'ServiceUnavailableException',
}

export function addTorchServe(service: Service): void {
  const { model, isReady, admit, classify } = service
  const spec = withUniqueLabels(model.outputSpec)
  const route = service.routes.of({
    name: 'TorchServe',
    description: "TorchServe's inference API.",
    error: 'TorchServeError',
  })

  const checked = (handler: Handler) => (ctx: RequestContext) => {
    const { model: name, version } = ctx.req.params
    if (name !== model.name) throw new RequestError(404, `Model not found: ${name}`)
    if (version === undefined || version === model.version || version === 'all') return handler(ctx)
    throw new RequestError(404, `Model version: ${version} does not exist for model: ${model.name}`)
  }

  route(
    'get /ping',
    ({ res }) => {
      const isHealthy = isReady()
      res.status(isHealthy ? 200 : 500).json({ status: isHealthy ? 'Healthy' : 'Unhealthy' })
    },
    {
      summary: 'Whether the server is ready for requests',
      response: 'status',
      otherStatus: 500,
      isOpen: true,
    },
  )

  const predict = admit(async (ctx) => {
    if (ctx.prefersText()) return ctx.replyText(await classify(ctx))
    const results = await classify(ctx, spec)
    ctx.recordResults(results)
    const bodies = results.map(resultJson)
    ctx.res.type('json').send(bodies.length === 1 ? bodies[0] : `[${bodies}]`)
  })
  for (const path of ['/predictions/:model', '/predictions/:model/:version']) {
    route(`post put ${path}`, checked(predict), {
      summary: 'Classify an image or a tensor',
      body: 'input',
      response: 'TorchServe result',
    })
  }

  const models = [{ modelName: model.name, modelUrl: model.name }]
  route('get /models', ({ res }) => res.json({ models }), { summary: 'The models', response: 'object' })
  for (const path of ['/models/:model', '/models/:model/:version']) {
    const send: Handler = ({ res }) => res.json([describeModel(service)])
    route(`get ${path}`, checked(send), { summary: 'The model and its queue', response: 'list' })
  }
}

/** The model as TorchServe's management API describes it. */
function describeModel({ model, settings }: Service) {
  const worker = {
    id: String(process.pid),
    startTime: new Date(performance.timeOrigin).toISOString(),
    status: model.isRunning ? 'READY' : 'LOADING',
    memoryUsage: process.memoryUsage().rss,
    pid: process.pid,
    gpu: model.device !== 'cpu',
    gpuUsage: model.device === 'cpu' ? 'N/A' : model.device,
  }
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
    workers: [worker],
    jobQueueStatus: {
      remainingCapacity: settings.MAX_QUEUE - model.waiting,
      pendingRequests: model.waiting,
    },
  }
}

/** Append the class number to a label that an earlier class has: as keys of an object, they would overwrite each other. */
function withUniqueLabels(spec: OutputSpec): OutputSpec {
  const { labels } = spec
  const first = new Map([...labels.keys()].reverse().map((index) => [labels[index], index]))
  return {
    ...spec,
    labels: labels.map((label, index) => (first.get(label) === index ? label : `${label} ${index}`)),
  }
}

/** The body of image_classifier, `{"tabby":0.5,...}`, best first; the list of numbers of a regression. */
function resultJson(result: Result): string {
  if (!('predictions' in result)) return JSON.stringify([result.prediction].flat())
  // not an object: JavaScript sorts keys that look like integers before the others
  return `{${result.predictions.map(({ label, score }) => `${JSON.stringify(label)}:${JSON.stringify(score)}`)}}`
}

export const torchServeError: ErrorShape = ({ status, message }) => {
  const type = status === 404 ? notFoundException(message) : EXCEPTIONS[status]
  return { code: status, type: type ?? 'InternalServerException', message }
}

/** @param message of TorchServe, or our own for a path that does not exist */
function notFoundException(message: string): string {
  if (message.startsWith('Model version')) return 'ModelVersionNotFoundException'
  return message.startsWith('Model not found') ? 'ModelNotFoundException' : 'ResourceNotFoundException'
}
