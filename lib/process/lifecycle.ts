/** The life of one process: load the model, answer requests, reload on SIGHUP, shut down. */
import { setTimeout } from 'node:timers/promises'
import { onSignals } from '../cluster/signals.ts'
import { type AppInstance, type HttpServer, listen } from '../http/http_server.ts'
import { messageOf } from '../inference/errors.ts'
import type { Log } from '../log/log.ts'
import type { Model } from '../model/model_info.ts'
import { isLoopback } from '../security/allowed_hosts.ts'
import type { Settings } from './settings.ts'

/** How long exiting waits for the last batch and the log. */
const LAST_RUN_MS = 1000

/** A loaded model, which a reload replaces. */
interface LoadedModel {
  model: Model
  /** @param isReady whether requests should be sent to this process */
  createInstance(isReady: () => boolean): AppInstance
}

interface ServerParts {
  settings: Settings
  log: Log
  /** Load the model folder. */
  load(): Promise<LoadedModel>
  /** Release what does not belong to one model. */
  close(): Promise<void>
}

/**
 * Load the model and listen; from then on, act on signals.
 *
 * SIGTERM and SIGINT end the process: it is unready at once, accepts connections for DRAIN_MS, and answers open requests
 * within SHUTDOWN_MS; a second signal ends it at once. SIGHUP loads the model folder again: new requests get the new model,
 * open ones the old. If the new one is broken, the old one stays.
 *
 * @throws StartError when the model cannot be loaded or the address cannot be used
 */
export async function runServer(parts: ServerParts): Promise<void> {
  const { settings, log } = parts
  let isStopping = false
  let http: HttpServer | undefined
  let model: Model | undefined

  const loads = createLoader(parts.load, () => isStopping)

  function exit(code: number, limitMs = LAST_RUN_MS): Promise<void> {
    const flushed = new Promise<void>((resolve) => log.flush(() => resolve()))
    return exitAfter([flushed, parts.close(), model?.close(), loads.settled], code, limitMs)
  }

  async function stop(): Promise<void> {
    if (isStopping) return
    isStopping = true
    if (!http) return exit(0, settings.SHUTDOWN_MS)
    log.info('stopping once open requests are finished')
    void setTimeout(settings.DRAIN_MS + settings.SHUTDOWN_MS).then(() => exit(http?.isIdle ? 0 : 1))
    await http.stop(settings.DRAIN_MS)
    await exit(0, isLoading ? settings.SHUTDOWN_MS : LAST_RUN_MS)
  }

  /** whether a reload was requested during the current load */
  let isOutdated = false
  let isLoading = true
  async function reload(): Promise<void> {
    isOutdated = true
    if (isLoading) return
    isLoading = true
    while (isOutdated && !isStopping) {
      isOutdated = false
      await replaceModel().catch((error) => {
        log.error(`the model was not reloaded, and the old one stays: ${messageOf(error)}`)
      })
    }
    isLoading = false
  }

  async function replaceModel(): Promise<void> {
    const next = await loads.next()
    if (isStopping) return
    const previous = model
    model = next.model
    // not awaited: one slow request must not delay the next reload
    void http?.swap(instanceFor(next)).then(() => previous?.close())
    log.info(`reloaded ${model.name} on ${model.device}`)
  }

  function instanceFor({ model, createInstance }: LoadedModel): AppInstance {
    return createInstance(() => !isStopping && model.isRunning)
  }

  // first of all: the first process of a container ignores signals that it does not handle
  onSignals({ stop, exit: () => exit(1), reload })
  process.on('uncaughtException', (error) => {
    log.fatal(error, 'the process exits after this error')
    void exit(1)
  })
  const loaded = await loads.next()
  if (isStopping) return // `stop` exits
  model = loaded.model
  const { HOST: host, PORT: port, REQUEST_TIMEOUT_MS: requestTimeoutMs } = settings
  http = await listen(instanceFor(loaded), { host, port, requestTimeoutMs })
  warnIfOpen(settings, log)
  log.info(`serving ${model.name} on ${model.device} at ${http.url}`)
  log.flush()
  isLoading = false
  if (isOutdated) await reload()
}

function warnIfOpen({ API_TOKEN: token, HOST: host }: Settings, log: Log): void {
  if (token || isLoopback(host)) return
  log.warn(`HOST=${host} without API_TOKEN: everyone who can reach this machine can send requests`)
}

/** @param limitMs then the process is killed, and its exit code is lost */
async function exitAfter(work: unknown[], code: number, limitMs: number): Promise<void> {
  const done = Promise.allSettled(work).then(() => true)
  if (await Promise.race([done, setTimeout(limitMs, false)])) process.exit(code)
  process.kill(process.pid, 'SIGKILL')
}

function createLoader(load: ServerParts['load'], isStopping: () => boolean) {
  let settled: Promise<void> = Promise.resolve()
  return {
    /** Load a model, and close it if the process is stopping by then. */
    next(): Promise<LoadedModel> {
      const loading = load()
      const closeIfStopping = ({ model }: LoadedModel) => (isStopping() ? model.close() : undefined)
      settled = loading.then(closeIfStopping, () => {})
      return loading
    },
    /** resolves when no model is being loaded: ONNX Runtime aborts a process that exits meanwhile */
    get settled() {
      return settled
    },
  }
}
