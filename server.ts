#!/usr/bin/env node
/**
 * onnxpress: one ONNX image classifier behind HTTP.
 *
 * createApp() has every route in sight; the bottom of the file starts it.
 */
import cluster from 'node:cluster'
import { createRequire } from 'node:module'
import dotenv from 'dotenv'
import express, { type Express, type Request, type Response } from 'express'
import helmet, { type HelmetOptions } from 'helmet'
import { IN_THREAD, postprocess } from './handler.ts'
import { Admission } from './lib/http/admission.ts'
import { requireAllowedHost } from './lib/http/allowed_hosts.ts'
import { requireToken } from './lib/http/bearer_auth.ts'
import { serverTiming, type Trace, traceOf } from './lib/http/context.ts'
import type { Metrics } from './lib/http/metrics.ts'
import { PAGE_PATHS, page } from './lib/http/page.ts'
import { allowOnly, errorSender, notFound, problems } from './lib/http/problem.ts'
import { observe, refuseWhenFull } from './lib/http/request_log.ts'
import { servedRoute } from './lib/http/served_route.ts'
import type { Service } from './lib/http/service.ts'
import { staticFile } from './lib/http/static_file.ts'
import { asJson, inWords } from './lib/inference/description.ts'
import { messageOf, RequestError, StartError } from './lib/inference/errors.ts'
import { checkScores, type Result, toText } from './lib/inference/output_spec.ts'
import { type AnyTensor, sizeOf, type Tensor, toBytes } from './lib/inference/tensor.ts'
import { createInputReader } from './lib/input/read_input.ts'
import { runPrimary } from './lib/process/cluster.ts'
import { helpText, readCommand } from './lib/process/command_line.ts'
import { live } from './lib/process/lifecycle.ts'
import { createLog, type Log } from './lib/process/log.ts'
import { maxUploadBytes, readSettings, type Settings } from './lib/process/settings.ts'
import { unknownSettings } from './lib/process/unknown_settings.ts'
import { version } from './lib/process/version.ts'
import { createThreadPool, type ThreadFunction, type ThreadPool } from './lib/workers/thread_pool.ts'
import { loadModel, type Model, type Watcher } from './model.ts'
import { loadSharp } from './preprocess/index.ts'
import { sageMaker, vertexAi } from './protocols/clouds.ts'
import { openInference, openInferenceError } from './protocols/open_inference.ts'
import { openApi } from './protocols/openapi/router.ts'
import { tfServing, tfServingError } from './protocols/tf_serving.ts'
import { torchServe, torchServeError } from './protocols/torchserve.ts'

/** most predictions in one answer: some megabytes of JSON */
const MAX_PREDICTIONS = 50_000

const sendError = errorSender({
  '/predictions': torchServeError,
  '/models': torchServeError,
  '/v1': tfServingError,
  '/v2': openInferenceError,
})

/** helmet's, for pages that load nothing from elsewhere and are framed nowhere. */
const SECURITY_HEADERS: HelmetOptions = {
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'self'"],
      imgSrc: ["'self'", 'blob:', 'data:'],
      baseUri: ["'none'"],
      formAction: ["'self'"],
      frameAncestors: ["'none'"],
    },
  },
  // whether there is TLS, and for how long, is for the proxy in front to say
  strictTransportSecurity: false,
}

interface Parts {
  model: Model
  threads: ThreadPool
  admission: Admission
  settings: Settings
  log: Log
  metrics: Metrics
  /** says no while the process is stopping */
  isReady: () => boolean
}

export function createApp(parts: Parts): Express {
  const { model, threads, admission, settings, log, metrics, isReady } = parts
  const app = express()
  app.disable('x-powered-by')
  app.disable('etag')
  app.use(observe(log, metrics, settings))
  // for pages and what they load; the answers to POST are for programs
  const secure = helmet(SECURITY_HEADERS)
  app.use((req, res, next) => (req.method === 'GET' ? secure(req, res, next) : next()))

  app.use(requireAllowedHost(settings))
  const { API_TOKEN, AIP_HEALTH_ROUTE } = settings
  if (API_TOKEN) app.use(requireToken(API_TOKEN, [AIP_HEALTH_ROUTE, ...PAGE_PATHS]))

  const readInput = createInputReader(
    { spec: model.input, maxSamples: settings.MAX_QUEUE },
    maxUploadBytes(settings),
    threads,
  )

  /** What every predicting route does: read, preprocess, run, postprocess. One result per sample, in order. */
  function predict(req: Request, res: Response, topK: number, answer = model.answer): Promise<Result[]> {
    if (answer.kind === 'tensors') {
      const names = model.inputs.map(({ name }) => name).join(', ')
      const detail = `the model has ${model.inputs.length} inputs (${names}): send them to POST /v2/models/${model.name}/infer`
      throw new RequestError(400, detail)
    }
    return admission.attend(req, res, async () => {
      const trace = traceOf(res)
      const input = await readInput(req, res)
      const tensors =
        'images' in input ? await preprocessAll(input.images, trace) : admit(input.tensor, trace)
      hold(tensors, trace)
      checkAnswerSize(tensors, topK)
      const scores = await Promise.all(tensors.map((tensor) => model.predict(tensor, trace)))
      const results = scores.flatMap((output, index) => postprocess(output, tensors[index], answer, topK))
      res.set('server-timing', serverTiming(trace))
      trace.label = toText(results.slice(0, 1))
      return results
    })
  }

  function admit(tensor: Tensor, trace: Trace): Tensor[] {
    trace.place!.admit(tensor.dims[0])
    return [tensor]
  }

  /** Their memory is freed with the answer. */
  function hold(tensors: AnyTensor[], { place }: Trace): void {
    for (const { data } of tensors) if (!Array.isArray(data)) place!.hold(data.buffer as ArrayBuffer)
  }

  /** What is answered is written on the event loop: it must not take long. */
  function checkAnswerSize(tensors: Tensor[], topK: number): void {
    const samples = tensors.reduce((sum, { dims }) => sum + dims[0], 0)
    const classes = model.answer.labels.length
    checkScores(samples, classes)
    const predictions = samples * Math.min(topK, classes)
    if (predictions <= MAX_PREDICTIONS || samples === 1) return
    throw new RequestError(
      413,
      `${samples} samples with top_k ${topK} are ${predictions} predictions, more than ${MAX_PREDICTIONS}: ask for fewer at once`,
    )
  }

  async function preprocessAll(images: Uint8Array[], trace: Trace): Promise<Tensor[]> {
    const begun = performance.now()
    const tensors = await inThreads<Tensor>(IN_THREAD.preprocess, images, trace)
    trace.preprocessMs = performance.now() - begun
    return tensors
  }

  /** Run one of the handler's functions on each image, in the thread pool. */
  function inThreads<T>(
    work: ThreadFunction,
    images: Uint8Array[],
    { interest, place }: Trace,
  ): Promise<T[]> {
    const { recipe } = model
    if (!recipe) throw new RequestError(415, `${model.name} takes no images: send a tensor, see GET /model`)
    place!.admit(images.length)
    const run = (file: Uint8Array) => {
      const task = { file, recipe, maxPixels: settings.MAX_PIXELS, dtype: model.input.dtype }
      return threads.run<T>(work, task, interest, [file.buffer as ArrayBuffer])
    }
    return Promise.all(images.map(run))
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
      const wantsPicture = req.accepts(['application/octet-stream', 'image/png']) === 'image/png'
      await admission.attend(req, res, async () => {
        const input = await readInput(req, res)
        if (!('images' in input)) throw new RequestError(415, 'send an image: a tensor is not preprocessed')
        const { images } = input
        if (!wantsPicture) return sendTensors(res, await preprocessAll(images, traceOf(res)))
        if (images.length > 1) throw new RequestError(400, 'send one image: a PNG shows one')
        const [png] = await inThreads<Uint8Array>(IN_THREAD.preview, images, traceOf(res))
        res.type('image/png').send(Buffer.from(png))
      })
    })
    .all(allowOnly('POST'))

  app
    .route('/model')
    .get((_req, res) => res.json(asJson(model, settings)))
    .all(allowOnly('GET'))
  const sendSample = model.samplePath && staticFile(model.samplePath)
  app
    .route('/model/sample')
    .get((req, res, next) => {
      if (!sendSample) throw new RequestError(404, `the folder of ${model.name} has no sample image`)
      return sendSample(req, res, next)
    })
    .all(allowOnly('GET'))
  app
    .route('/livez')
    .get((_req, res) => res.json({ status: 'alive' }))
    .all(allowOnly('GET'))
  app
    .route('/readyz')
    .get((_req, res) => {
      if (!isReady())
        throw new RequestError(503, 'the server is stopping, or its model is being started again')
      res.json({ status: 'ready' })
    })
    .all(allowOnly('GET'))

  metrics.watch(model, () => threads.waiting + model.waiting, isReady)
  app
    .route('/metrics')
    .get(async (_req, res) => res.type('text/plain; version=0.0.4').send(await metrics.read()))
    .all(allowOnly('GET'))

  // other people's protocols, over the same path through handler and model
  const service: Service = {
    model,
    settings,
    threads,
    isReady,
    predict,
    attend: (req, res, work) => admission.attend(req, res, work),
    async infer(res, inputs, outputs) {
      traceOf(res).place!.admit(inputs[0].dims[0])
      hold(inputs, traceOf(res))
      const results = await model.infer(inputs, outputs, traceOf(res))
      res.set('server-timing', serverTiming(traceOf(res)))
      return results
    },
  }
  app.use(torchServe(service), tfServing(service), openInference(service), sageMaker(answerPredict))
  app.use(openApi(service))
  app.use(page())
  app.use(vertexAi(service, (path) => servedRoute(app.router, path))) // after all the routes it must not clash with

  app.use(notFound)
  app.use(problems(log, sendError))
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
async function printDescription(settings: Settings, notes: string[]): Promise<void> {
  const warn = (message: string) => console.log(`note     ${message}`)
  notes.forEach(warn)
  const model = await loadModel(settings.MODEL_DIR, settings, { warn })
  console.log(inWords(model))
  await model.close()
}

/** The threads that preprocess. */
export function createThreads({ PREPROCESS_THREADS }: Settings, metrics: () => Metrics): ThreadPool {
  return createThreadPool({
    threads: PREPROCESS_THREADS,
    usual: IN_THREAD.preprocess,
    prepare: loadSharp,
    onDone: (ms) => metrics().preprocess.observe(ms / 1000),
  })
}

/** What happens to a model, for the log and the metrics. */
export function watcherOf(log: Log, metrics: () => Metrics): Watcher {
  return {
    warn: (message) => log.warn(message),
    onWait: (ms) => metrics().queueWait.observe(ms / 1000),
    onBatch(samples, ms) {
      metrics().batchSize.observe(samples)
      metrics().inference.observe(ms / 1000)
    },
    onDeath(error) {
      metrics().workerRestarts.inc()
      log.error(`${error.message}: it is started again`)
    },
  }
}

/** Answer requests, until a signal ends it. */
async function serve(settings: Settings, warnings: string[]): Promise<void> {
  const log = await createLog(settings.LOG_LEVEL)
  if (cluster.isPrimary) for (const warning of warnings) log.warn(warning)
  if (settings.WEB_CONCURRENCY > 1 && cluster.isPrimary) return runPrimary(settings.WEB_CONCURRENCY, log)
  let metrics: Metrics
  const threads = createThreads(settings, () => metrics)
  const watcher = watcherOf(log, () => metrics)
  await live({
    settings,
    log,
    async load() {
      const [model, { createMetrics }] = await Promise.all([
        loadModel(settings.MODEL_DIR, settings, watcher),
        import('./lib/http/metrics.ts'), // takes a moment too
      ])
      metrics ??= createMetrics()
      // not waited for: a tensor needs none, and if it fails, the first image is told
      if (model.recipe) threads.start().catch(() => {})
      return model
    },
    appFor(model, isReady) {
      const admission = new Admission([threads, model], model.batchSize, settings, metrics)
      const app = createApp({ model, threads, admission, settings, log, metrics, isReady })
      return { express: app, listener: refuseWhenFull(app, admission, sendError, log, metrics) }
    },
  })
}

/** Whether this file is what node was started with, as `server.js`, `server`, `.`, a link or `server.ts`. */
function isMain(): boolean {
  const started = process.argv[1]
  return started !== undefined && createRequire(import.meta.url).resolve(started) === import.meta.filename
}

async function main(): Promise<void> {
  const { action, env, port } = readCommand(process.argv.slice(2))
  if (action === 'help') return console.log(helpText())
  if (action === 'version') return console.log(version)
  const { parsed: file = {} } = dotenv.config({ quiet: true })
  const settings = readSettings({ ...process.env, ...env }, port)
  const warnings = unknownSettings(process.env, file)
  await (action === 'describe' ? printDescription(settings, warnings) : serve(settings, warnings))
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
