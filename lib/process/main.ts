/** The command `onnxpress`: serve a model, or print how its folder is read. */
import cluster from 'node:cluster'
import { createRequire } from 'node:module'
import { availableParallelism } from 'node:os'
import dotenv from 'dotenv'
import { metricsReader } from '../cluster/cluster_metrics.ts'
import { isFirstProcess, superviseProcesses } from '../cluster/supervisor.ts'
import type { AppInstance } from '../http/http_server.ts'
import type { Metrics } from '../http/metrics.ts'
import { isHubReference } from '../hub/reference.ts'
import { messageOf } from '../inference/errors.ts'
import { createLog, type Log } from '../log/log.ts'
import { formatDescription } from '../model/description.ts'
import type { Model, ModelEvents } from '../model/model_info.ts'
import { ImageWorkers } from '../workers/image_workers.ts'
import { helpText, readCommand } from './command_line.ts'
import { configureHeap } from './heap.ts'
import { runServer } from './lifecycle.ts'
import { rehearse } from './rehearsal.ts'
import { memoryPerProcess, readSettings, type Settings } from './settings.ts'
import { unknownSettings } from './unknown_settings.ts'
import { version } from './version.ts'

/** The parts of an app. */
export interface AppParts {
  model: Model
  workers: ImageWorkers
  settings: Settings
  log: Log
  metrics: Metrics
  /** of this process or of all, in Prometheus' text format */
  readMetrics: () => Promise<string>
  /** whether requests should be sent to this process */
  isReady: () => boolean
}

/** The root's two factories. */
export interface Factories {
  loadModel(dir: string, settings: Settings, events: ModelEvents): Promise<Model>
  createApp(parts: AppParts): AppInstance
}

/** Run the command if Node was started with this module, as `server.js`, `server`, `.`, a link or `server.ts`. */
export async function runIfMain(filename: string, factories: Factories): Promise<void> {
  if (startedModule() !== filename) return
  try {
    await run(factories)
  } catch (error) {
    // ONNX Runtime's messages can have several lines; print one
    const line = messageOf(error)
      .trim()
      .replace(/\s*\n\s*/g, ' ')
    console.error(`onnxpress: ${line}`)
    if (process.env.LOG_LEVEL === 'debug') console.error(error)
    process.exit(1)
  }
}

/** The file that Node was started with; undefined if there is none, as with `node -`. */
function startedModule(): string | undefined {
  try {
    return createRequire(import.meta.url).resolve(process.argv[1])
  } catch {
    return undefined
  }
}

async function run(factories: Factories): Promise<void> {
  const { action, env, port } = readCommand(process.argv.slice(2))
  if (action === 'help') return console.log(helpText())
  if (action === 'version') return console.log(version)
  const { parsed: dotenvFile = {} } = dotenv.config({ quiet: true })
  const given = readSettings({ ...process.env, ...env }, port)
  const warnings = unknownSettings(process.env, dotenvFile)
  if (action === 'describe') {
    const note = (message: string) => console.log(`note     ${message}`)
    warnings.forEach(note)
    return printDescription(factories, await withLocalModel(given, console.error, note), note)
  }
  if (action === 'check') {
    return printCheck(factories, await withLocalModel(given, console.error, console.error))
  }
  configureHeap()
  process.on('SIGHUP', () => {}) // nothing is loaded yet that it could reload
  const log = await createLog(given.LOG_LEVEL)
  if (cluster.isPrimary) for (const warning of warnings) log.warn(warning)
  // a download can be ended: the first process of a container ignores signals that it does not handle
  const leave = () => process.exit(1)
  process.once('SIGTERM', leave).once('SIGINT', leave)
  const settings = await withLocalModel(
    given,
    (line) => log.info(line),
    (message) => log.warn(message),
  )
  process.off('SIGTERM', leave).off('SIGINT', leave)
  if (settings.WEB_CONCURRENCY > 1 && cluster.isPrimary) {
    // all processes serve the commit that was found here, whatever the Hub says when they start
    cluster.setupPrimary({ args: [] })
    const { MODEL_DIR, MODEL_FILE, PORT, WEB_CONCURRENCY: processes } = settings
    Object.assign(process.env, { MODEL_DIR, MODEL_FILE, PORT: String(PORT) })
    const cores = availableParallelism()
    if (processes > cores)
      log.warn(
        `WEB_CONCURRENCY=${processes}: on ${cores} cores, the processes wait for each other: set ${cores} or less`,
      )
    return superviseProcesses(processes, log)
  }
  return serve(factories, settings, log)
}

/**
 * The settings with MODEL_DIR as a folder: a model on the Hub is downloaded, once per start.
 *
 * @param say called with lines about the download
 * @param note called with each assumption
 */
export async function withLocalModel(
  settings: Settings,
  say: (line: string) => void,
  note: (message: string) => void,
): Promise<Settings> {
  const { MODEL_DIR, MODEL_FILE: file } = settings
  if (!isHubReference(MODEL_DIR)) return settings
  const { fetchModel } = await import('../hub/fetch_model.ts')
  return { ...settings, MODEL_DIR: await fetchModel(MODEL_DIR, { file, env: process.env, say, note }) }
}

async function printDescription(
  { loadModel }: Factories,
  settings: Settings,
  note: (message: string) => void,
): Promise<void> {
  const model = await loadModel(settings.MODEL_DIR, settings, { note })
  console.log(formatDescription(model))
  await model.close()
}

async function printCheck({ loadModel }: Factories, settings: Settings): Promise<void> {
  const model = await loadModel(settings.MODEL_DIR, settings, { note: () => {} })
  const { checkModel } = await import('../check/check_model.ts')
  const isEqual = await checkModel(model, settings.MAX_PIXELS, console.log)
  await model.close()
  process.exitCode = isEqual ? 0 : 1
}

async function serve({ loadModel, createApp }: Factories, settings: Settings, log: Log): Promise<void> {
  let metrics: Metrics | undefined
  let readMetrics: AppParts['readMetrics'] | undefined
  let latest: Model | undefined
  const events = modelEvents(log, () => metrics)
  const workers = createWorkers(settings, () => metrics)

  /** Compare the model with its check.json later on, in one process of several. */
  async function check(model: Model): Promise<void> {
    if (!model.checkPath || !isFirstProcess()) return
    const { checkInBackground } = await import('../check/check_model.ts')
    const isBusy = () => workers.waiting + model.waiting > 0
    const { cases, differing } = await checkInBackground(model, settings.MAX_PIXELS, isBusy)
    if (model !== latest) return
    metrics?.setCheck(cases, differing.length)
    if (differing.length === 0) return
    const names = differing.join(', ')
    log.warn(`${model.checkPath}: ${differing.length} of ${cases} cases differ (${names}): --check says why`)
  }
  /** Before there are metrics, so that these requests are not among them. */
  async function rehearseStart(model: Model, metrics: Metrics): Promise<void> {
    const unread = { metrics, readMetrics: async () => '', log: log.child({}, { level: 'silent' }) }
    const instance = createApp({ model, workers, settings, isReady: () => false, ...unread })
    try {
      await rehearse(instance, model, settings.API_TOKEN)
    } catch (error) {
      log.debug(`the rehearsal failed, so the first requests will be slower: ${messageOf(error)}`)
    }
  }

  await runServer({
    settings,
    log,
    async load() {
      // not awaited: tensors do not need it, and if it fails, the first image gets the error
      workers.start().catch(() => {})
      const [model, { Metrics }] = await Promise.all([
        loadModel(settings.MODEL_DIR, settings, events),
        import('../http/metrics.ts'), // in parallel, because it takes a moment
      ])
      if (!metrics) {
        await rehearseStart(model, new Metrics())
        metrics = new Metrics().addProcess()
      }
      readMetrics ??= metricsReader(metrics.registry)
      latest = model
      check(model).catch((error) => {
        if (model.isRunning) log.warn(`the model was not compared with check.json: ${messageOf(error)}`)
      })
      const parts = { model, workers, settings, log, metrics, readMetrics }
      return { model, createInstance: (isReady) => createApp({ ...parts, isReady }) }
    },
    close: () => workers.close(),
  })
}

/** @param metrics undefined until they are loaded */
export function createWorkers(settings: Settings, metrics: () => Metrics | undefined): ImageWorkers {
  const { PREPROCESS_THREADS: threads, MAX_PIXELS: maxPixels } = settings
  const onDone = (ms: number) => metrics()?.preprocess.observe(ms / 1000)
  return new ImageWorkers(threads, maxPixels, memoryPerProcess(settings), onDone)
}

/** Log and count the events of a model. */
export function modelEvents(log: Log, metrics: () => Metrics | undefined): ModelEvents {
  return {
    note: (message) => log.warn(message),
    onWait: (ms) => metrics()?.queueWait.observe(ms / 1000),
    onBatch(samples, ms) {
      metrics()?.batchSize.observe(samples)
      metrics()?.inference.observe(ms / 1000)
    },
    onWorkerExit(error) {
      metrics()?.workerRestarts.inc()
      log.error(`${error.message}: starting another`)
    },
    onFailedRestart: (error) => log.error(`${error.message}: trying again`),
  }
}
