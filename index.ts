/**
 * The package's entry, for mounting the server in another Express app:
 *
 *     const classifier = await createApp(await loadModel('my_model'))
 *     express().use('/classify', classifier).listen(3000)
 */
import type { Express } from 'express'
import { Metrics } from './lib/http/metrics.ts'
import { createLog } from './lib/log/log.ts'
import { createWorkers, modelEvents, withLocalModel } from './lib/process/main.ts'
import { readSettings, type Settings } from './lib/process/settings.ts'
import { loadModel as loadModelWith, type Model } from './model.ts'
import { createApp as createAppWith } from './server.ts'

export type { Model, Settings }

/** The metrics of each loaded model. */
const metricsOf = new WeakMap<Model, Metrics>()

/**
 * Load and warm up a model.
 *
 * @param dir the model folder, relative to the working directory, or `hf://owner/model`
 * @param settings that differ from their defaults, by the names of the environment variables
 * @throws Error one line: which file, which key, what was expected
 */
export async function loadModel(dir: string, settings: Partial<Settings> = {}): Promise<Model> {
  const given: Settings = { ...readSettings({}), ...settings, MODEL_DIR: dir }
  const metrics = new Metrics().addProcess()
  const log = await createLog(given.LOG_LEVEL)
  const events = modelEvents(log, () => metrics)
  const all = await withLocalModel(given, (line) => log.info(line), events.note)
  const model = await loadModelWith(all.MODEL_DIR, all, events)
  metricsOf.set(model, metrics)
  return model
}

/**
 * An Express app with all routes of the server: /predict, /, /docs, /v2, ...
 *
 * @param model from `loadModel`
 * @param settings that differ from their defaults. LOG_LEVEL is `warn`: the app around it logs its own requests. HOST is
 * unknown: Host headers are checked only if ALLOWED_HOSTS or HOST is set
 * @returns the app; `close` stops its threads, its processes and the model
 */
export async function createApp(
  model: Model,
  settings: Partial<Settings> = {},
): Promise<Express & { close(): Promise<void> }> {
  const all: Settings = { ...readSettings({}), HOST: '', LOG_LEVEL: 'warn', ...settings }
  const metrics = metricsOf.get(model)
  if (!metrics) throw new TypeError('createApp: expected a model from loadModel')
  const workers = createWorkers(all, () => metrics)
  const log = await createLog(all.LOG_LEVEL)
  const { express } = createAppWith({
    model,
    workers,
    settings: all,
    log,
    metrics,
    readMetrics: () => metrics.registry.metrics(),
    isReady: () => model.isRunning,
  })
  return Object.assign(express, {
    async close() {
      await Promise.all([workers.close(), model.close()])
    },
  })
}
