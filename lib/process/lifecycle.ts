/** The life of one process: the model is loaded, requests are answered, the model is changed, the end comes in order. */
import { setTimeout } from 'node:timers/promises'
import { isLoopback } from '../http/allowed_hosts.ts'
import { type App, type HttpServer, listen } from '../http/http_server.ts'
import { messageOf } from '../inference/errors.ts'
import { onSignals } from './cluster.ts'
import type { Log } from './log.ts'
import type { Settings } from './settings.ts'

/** How long the end waits for the run that the worker is in, see `Session.close`; then the process is killed. */
const LAST_RUN_MS = 1000

/** What is served, and can be exchanged. */
interface Served {
  readonly name: string
  readonly device: string
  /** whether its worker is there */
  readonly isRunning: boolean
  close(): Promise<void>
}

interface Life<Model extends Served> {
  settings: Settings
  log: Log
  load(): Promise<Model>
  /** @param isReady whether requests should be sent here */
  appFor(model: Model, isReady: () => boolean): App
}

/**
 * Load and listen, and from then on do as the signals say.
 *
 * SIGTERM and SIGINT end the process: unready at once, new connections still taken for DRAIN_MS, what is under way
 * answered within SHUTDOWN_MS; a second signal ends it now. SIGHUP loads the model folder again: requests from then on
 * get the new model, those under way the old one, and if the new one is broken the old one stays.
 *
 * @throws StartError when the model cannot be loaded or the address not be listened on
 */
export async function live<Model extends Served>({
  settings,
  log,
  load,
  appFor,
}: Life<Model>): Promise<void> {
  let isStopping = false
  let http: HttpServer | undefined
  let model: Model | undefined

  /** The code of an orderly end is lost where a run, or whoever reads the log, does not come to an end. */
  async function end(code: number): Promise<void> {
    const flushed = new Promise<boolean>((resolve) => log.flush(() => resolve(true)))
    const over = Promise.all([flushed, model?.close()]).then(() => true)
    const isOver = await Promise.race([over, setTimeout(LAST_RUN_MS, false)])
    if (isOver) process.exit(code)
    process.kill(process.pid, 'SIGKILL')
  }

  async function stop(): Promise<void> {
    if (isStopping) return
    isStopping = true
    if (!http) return end(0)
    log.info('stopping: open requests are finished first')
    void setTimeout(settings.DRAIN_MS + settings.SHUTDOWN_MS).then(() => end(http?.isIdle ? 0 : 1))
    await http.stop(settings.DRAIN_MS)
    await end(0)
  }

  /** Whether to load again as soon as the present load is over, however often that was asked for meanwhile. */
  let isOutdated = false
  let isLoading = true
  async function reload(): Promise<void> {
    isOutdated = true
    if (isLoading) return
    isLoading = true
    while (isOutdated && !isStopping) {
      isOutdated = false
      await exchange().catch((error) => {
        log.error(`the model is not reloaded, the old one stays: ${messageOf(error)}`)
      })
    }
    isLoading = false
  }

  async function exchange(): Promise<void> {
    const next = await load()
    const before = model
    model = next
    // not waited for: one slow request must not keep the next reload waiting
    void http!.swap(appOf(next)).then(() => before?.close())
    log.info(`reloaded ${next.name} on ${next.device}`)
  }

  function appOf(served: Model): App {
    return appFor(served, () => !isStopping && served.isRunning)
  }

  // first of all: a container's first process ignores signals that it does not handle
  onSignals({ stop, end: () => end(1), reload })
  process.on('uncaughtException', (error) => {
    log.fatal(error, 'the process ends')
    void end(1)
  })
  model = await load()
  http = await listen(appOf(model), settings)
  if (!settings.API_TOKEN && !isLoopback(settings.HOST)) {
    log.warn(`HOST=${settings.HOST} without API_TOKEN: whoever reaches this machine can send requests`)
  }
  log.info(`serving ${model.name} on ${model.device} at ${http.url}`)
  log.flush()
  isLoading = false
  if (isOutdated) await reload()
}
