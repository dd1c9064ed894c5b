/**
 * The package, for those who mount the server in an Express app of their own:
 *
 *     const classifier = await createApp(await loadModel('my_model'))
 *     express().use('/classify', classifier).listen(3000)
 */
import type { Express } from 'express'
import { Admission } from './lib/http/admission.ts'
import { createMetrics, type Metrics } from './lib/http/metrics.ts'
import { createLog } from './lib/process/log.ts'
import { readSettings, type Settings } from './lib/process/settings.ts'
import { loadModel as loadWith, type Model } from './model.ts'
import { createThreads, createApp as createWith, watcherOf } from './server.ts'

export type { Model, Settings }

/** What each loaded model's watcher writes into, and its app shows. */
const metricsOf = new WeakMap<Model, Metrics>()

/**
 * Load and warm up a model.
 *
 * @param dir the model folder, relative to the working directory
 * @param settings those that are not the default, by the names of the environment variables
 * @throws Error one line: which file, which key, what was expected
 */
export async function loadModel(dir: string, settings: Partial<Settings> = {}): Promise<Model> {
  const all = { ...readSettings({}), ...settings }
  const [metrics, log] = [createMetrics(), await createLog(all.LOG_LEVEL)]
  const model = await loadWith(
    dir,
    all,
    watcherOf(log, () => metrics),
  )
  metricsOf.set(model, metrics)
  return model
}

/**
 * An Express app with all routes of the server: /predict, /, /docs, /v2, ...
 *
 * @param model of `loadModel`
 * @param settings those that are not the default. LOG_LEVEL is `warn` here: the app around it logs its own requests.
 * HOST is unknown here: Host headers are checked only with ALLOWED_HOSTS, or with the HOST that is listened on
 * @returns the app; `close` ends the threads and the model
 */
export async function createApp(
  model: Model,
  settings: Partial<Settings> = {},
): Promise<Express & { close(): Promise<void> }> {
  const all: Settings = { ...readSettings({}), HOST: '', LOG_LEVEL: 'warn', ...settings }
  const metrics = metricsOf.get(model)
  if (!metrics) throw new TypeError('createApp: expected a model that loadModel gave')
  const threads = createThreads(all, () => metrics)
  const admission = new Admission([threads, model], model.batchSize, all, metrics)
  const log = await createLog(all.LOG_LEVEL)
  const isReady = () => model.isRunning
  const app = createWith({ model, threads, admission, settings: all, log, metrics, isReady })
  return Object.assign(app, {
    async close() {
      await Promise.all([threads.close(), model.close()])
    },
  })
}
