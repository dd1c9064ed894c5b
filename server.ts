/**
 * onnxpress: one ONNX image classifier behind HTTP.
 *
 * createApp() has every route in sight; the bottom of the file starts it.
 */
import { createRequire } from 'node:module'
import { extname } from 'node:path'
import { parseArgs } from 'node:util'
import dotenv from 'dotenv'
import express, { type Express, type Request, type Response } from 'express'
import { postprocess } from './handler.ts'
import { type Result, toText } from './lib/answer.ts'
import { checkQueue } from './lib/batcher.ts'
import { maxUploadBytes, readSettings, type Settings } from './lib/config.ts'
import { asJson, inWords } from './lib/description.ts'
import { messageOf, RequestError, StartError } from './lib/errors.ts'
import { listen } from './lib/http_server.ts'
import { encodePng } from './lib/image.ts'
import { createInputReader } from './lib/input.ts'
import { createLog, type Log } from './lib/log.ts'
import { allowOnly, notFound, problems } from './lib/problem.ts'
import type { Pixels } from './lib/resample.ts'
import type { Service } from './lib/service.ts'
import { sizeOf, type Tensor, toBytes } from './lib/tensor.ts'
import { createThreadPool, type ThreadPool } from './lib/thread_pool.ts'
import { requireToken } from './lib/token.ts'
import { loadModel, type Model } from './model.ts'
import { openApi } from './openapi/router.ts'
import { clouds } from './protocols/clouds.ts'
import { openInference } from './protocols/open_inference.ts'
import { tfServing } from './protocols/tf_serving.ts'
import { torchServe } from './protocols/torchserve.ts'

/** most predictions in one answer: some megabytes of JSON */
const MAX_PREDICTIONS = 50_000

interface Parts {
  model: Model
  threads: ThreadPool
  settings: Settings
  log: Log
  /** says no while the process is stopping */
  isReady: () => boolean
}

export function createApp({ model, threads, settings, log, isReady }: Parts): Express {
  const app = express()
  app.disable('x-powered-by')
  app.disable('etag')

  const { API_TOKEN, AIP_HEALTH_ROUTE } = settings
  if (API_TOKEN) app.use(requireToken(API_TOKEN, [AIP_HEALTH_ROUTE]))

  const readInput = createInputReader(
    { spec: model.input, maxSamples: settings.MAX_QUEUE },
    maxUploadBytes(settings),
  )

  /** What every predicting route does: read, preprocess, run, postprocess. One result per sample, in order. */
  async function predict(
    req: Request,
    res: Response,
    topK: number,
    answer = model.answer,
  ): Promise<Result[]> {
    if (model.answer.kind === 'tensors') {
      const names = model.inputs.map(({ name }) => name)
      throw new RequestError(
        400,
        `the model has ${names.length} inputs (${names.join(', ')}): send them to POST /v2/models/${model.name}/infer`,
      )
    }
    const input = await readInput(req, res)
    const tensors = 'images' in input ? await preprocessAll(input.images) : [input.tensor]
    checkAnswerSize(tensors, topK)
    const scores = await Promise.all(tensors.map(model.predict))
    return scores.flatMap((output, index) => postprocess(output, tensors[index], answer, topK))
  }

  /** What is answered is written on the event loop: it must not take long. */
  function checkAnswerSize(tensors: Tensor[], topK: number): void {
    const samples = tensors.reduce((sum, { dims }) => sum + dims[0], 0)
    const predictions = samples * Math.min(topK, model.answer.labels.length)
    if (predictions <= MAX_PREDICTIONS || samples === 1) return
    throw new RequestError(
      413,
      `${samples} samples with top_k ${topK} are ${predictions} predictions, more than ${MAX_PREDICTIONS}: ask for fewer at once`,
    )
  }

  function preprocessAll(images: Uint8Array[]): Promise<Tensor[]> {
    return inThreads<Tensor>('preprocessInThread', images)
  }

  /** Run one of the handler's functions on each image, in the thread pool. */
  function inThreads<T>(name: string, images: Uint8Array[]): Promise<T[]> {
    const { recipe } = model
    if (!recipe) throw new RequestError(415, `${model.name} takes no images: send a tensor, see GET /model`)
    checkQueue(images.length, threads.waiting, settings.MAX_QUEUE)
    const tasks = images.map((file) => ({ file, recipe, maxPixels: settings.MAX_PIXELS }))
    return Promise.all(tasks.map((task) => threads.run<T>(name, task)))
  }

  const answerPredict = async (req: Request, res: Response) => {
    const results = await predict(req, res, readTopK(req, settings.TOP_K))
    if (req.accepts(['json', 'text/plain']) === 'text/plain')
      return res.type('text/plain').send(toText(results))
    res.json(results.length === 1 ? results[0] : results)
  }
  app.route('/predict').post(answerPredict).put(answerPredict).all(allowOnly('POST', 'PUT'))

  // the book's own route: the bare label, whatever Accept says
  app
    .route('/test')
    .post(async (req, res) => res.type('text/plain').send(toText(await predict(req, res, 1))))
    .all(allowOnly('POST'))

  // what the model would see, to compare with one's notebook
  app
    .route('/preprocess')
    .post(async (req, res) => {
      const input = await readInput(req, res)
      if (!('images' in input)) throw new RequestError(415, 'send an image: a tensor is not preprocessed')
      if (req.accepts(['application/octet-stream', 'image/png']) === 'image/png') {
        if (input.images.length > 1) throw new RequestError(400, 'send one image: a PNG shows one')
        const [pixels] = await inThreads<Pixels>('previewInThread', input.images)
        return res.type('image/png').send(await encodePng(pixels))
      }
      sendTensors(res, await preprocessAll(input.images))
    })
    .all(allowOnly('POST'))

  app
    .route('/model')
    .get((_req, res) => res.json(asJson(model, settings)))
    .all(allowOnly('GET'))
  app
    .route('/model/sample')
    .get((_req, res) => {
      if (!model.samplePath) throw new RequestError(404, `the folder of ${model.name} has no sample image`)
      res.sendFile(model.samplePath)
    })
    .all(allowOnly('GET'))
  app
    .route('/livez')
    .get((_req, res) => res.json({ status: 'alive' }))
    .all(allowOnly('GET'))
  app
    .route('/readyz')
    .get((_req, res) => {
      if (!isReady()) throw new RequestError(503, 'the server is stopping: send requests elsewhere')
      res.json({ status: 'ready' })
    })
    .all(allowOnly('GET'))

  // other people's protocols, over the same path through handler and model
  const service: Service = { model, settings, isReady, predict, infer: model.infer }
  app.use(torchServe(service), tfServing(service), openInference(service), clouds(service, answerPredict))
  app.use(openApi(service))

  app.use(notFound)
  app.use(problems(log))
  return app
}

/** `?top_k=`, else the setting. */
function readTopK({ query }: Request, byDefault: number): number {
  const given = query.top_k
  if (given === undefined) return byDefault
  const topK = Number(given)
  if (typeof given === 'string' && Number.isSafeInteger(topK) && topK >= 1) return topK
  throw new RequestError(400, `top_k is ${JSON.stringify(given)}: expected one whole number, at least 1`)
}

/** Images of one size as one tensor [n, channels, height, width], its dims and dtype in the headers. */
function sendTensors(res: Response, tensors: Tensor[]): void {
  const [{ dtype, dims }] = tensors
  if (tensors.some((tensor) => sizeOf(tensor.dims) !== sizeOf(dims) || tensor.dims[2] !== dims[2])) {
    throw new RequestError(400, 'the images become tensors of different sizes: send them one by one')
  }
  res.set({ 'x-dims': [tensors.length, ...dims.slice(1)].join(','), 'x-dtype': dtype })
  res.type('application/octet-stream').send(Buffer.concat(tensors.map(({ data }) => toBytes(data))))
}

/** Print what is understood of the model folder, and serve nothing. */
async function printDescription(settings: Settings): Promise<void> {
  const model = await loadModel(settings.MODEL_DIR, settings, (message) => console.log(`note     ${message}`))
  console.log(inWords(model))
  await model.close()
}

/** Load the model, listen, and on SIGTERM or SIGINT stop in order; a second signal forces the end. */
async function serve(settings: Settings): Promise<void> {
  let stop = async () => process.exit(0)
  // set before the model is loaded: a container's first process ignores signals that it does not handle
  process.on('SIGTERM', () => stop()).on('SIGINT', () => stop())
  const log = await createLog(settings.LOG_LEVEL)
  const model = await loadModel(settings.MODEL_DIR, settings, (message) => log.warn(message))
  const handler = new URL(`./handler${extname(import.meta.filename)}`, import.meta.url)
  const threads = createThreadPool(handler, settings.PREPROCESS_THREADS)
  let isReady = true
  const app = createApp({ model, threads, settings, log, isReady: () => isReady })
  const http = await listen(app, settings)
  if (!settings.API_TOKEN && !isLoopback(settings.HOST)) {
    log.warn(`HOST=${settings.HOST} without API_TOKEN: whoever reaches this machine can send requests`)
  }
  log.info(`serving ${model.name} on ${model.device} at ${http.url}`)

  stop = async () => {
    if (!isReady) process.exit(1)
    isReady = false
    log.info('stopping: open requests are finished first')
    setTimeout(() => process.exit(1), settings.SHUTDOWN_MS).unref()
    await http.stop()
    process.exit(0)
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || host.startsWith('127.')
}

/** Whether this file is what node was started with, as `server.js`, `server`, `.`, a link or `server.ts`. */
function isMain(): boolean {
  const started = process.argv[1]
  return started !== undefined && createRequire(import.meta.url).resolve(started) === import.meta.filename
}

/** SageMaker starts a container with the argument `serve` and talks to this port. */
const CLOUD_PORT = 8080

async function main(): Promise<void> {
  dotenv.config({ quiet: true })
  const { describe, isCloud } = readArguments()
  const settings = readSettings(process.env, isCloud ? CLOUD_PORT : undefined)
  await (describe ? printDescription(settings) : serve(settings))
}

/** @throws StartError for an argument that there is not */
function readArguments(): { describe?: boolean; isCloud: boolean } {
  try {
    const { values, positionals } = parseArgs({
      options: { describe: { type: 'boolean' } },
      allowPositionals: true,
    })
    if (positionals.length > 1 || (positionals[0] ?? 'serve') !== 'serve') {
      throw new Error(`Unexpected argument '${positionals}'`)
    }
    return { ...values, isCloud: positionals.length === 1 }
  } catch (error) {
    throw new StartError(`${messageOf(error).split('. ')[0]}: expected nothing, serve, or --describe`)
  }
}

if (isMain()) {
  main().catch((error) => {
    // what the runtime says can have several lines; the operator gets one
    console.error(
      `onnxpress: ${messageOf(error)
        .trim()
        .replace(/\s*\n\s*/g, ' ')}`,
    )
    if (!(error instanceof StartError) && process.env.LOG_LEVEL === 'debug') console.error(error)
    process.exit(1)
  })
}
