/** WEB_CONCURRENCY: several processes that share one port, replaced when they die, stopped and reloaded together. */
import cluster, { type Worker } from 'node:cluster'
import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import type { MetricObjectWithValues, MetricValue, Registry } from 'prom-client'
import type { Log } from './log.ts'

type Report = MetricObjectWithValues<MetricValue<string>>[]

/** From the primary to its workers; what is sent before one listens is lost. */
type ToWorker = 'stop' | 'end' | 'reload' | 'report' | { metrics: string }
/** A worker asks for the metrics of all, and reports its own. */
type ToPrimary = 'metrics' | { report: Report }

/** A process that does not live as long is replaced only then. */
const SHORT_LIFE_MS = 1000
/** A worker that has not reported its metrics by then is left out. */
const REPORT_MS = 2000

/**
 * Run as many copies of this process; this one only looks after them, and ends when they have.
 *
 * The first must serve before the others are started: if it cannot, it has said why, and the whole ends with code 1.
 */
export async function runPrimary(count: number, log: Log): Promise<void> {
  const { AggregatorRegistry } = await import('prom-client')
  const running = new Set<Worker>()
  const serving = new Set<Worker>()
  let isStopping = false
  let reloads = 0
  let code = 0

  const send = (worker: Worker, message: ToWorker) => {
    if (worker.isConnected()) worker.send(message, () => {}) // it may be dying
  }

  async function keepRunning(isFirst: boolean, onServing: () => void): Promise<void> {
    if (isStopping) return
    const begun = performance.now()
    const reloadsBefore = reloads
    const worker = cluster.fork()
    running.add(worker)
    worker.on('error', () => {}) // of a channel to a process that is gone
    worker.once('listening', () => {
      serving.add(worker)
      if (reloads > reloadsBefore) send(worker, 'reload')
      if (isStopping) send(worker, 'stop')
      onServing()
    })
    worker.on('message', async (message: ToPrimary) => {
      if (message === 'metrics') send(worker, { metrics: await allMetrics() })
    })
    const [exitCode, signal] = await once(worker, 'exit')
    running.delete(worker)
    if (isStopping) {
      // one that was still starting had nothing to lose, and ONNX Runtime may abort a process that ends while it loads
      if (serving.has(worker)) code ||= exitCode ?? 1
      if (running.size === 0) process.exit(code)
      return
    }
    if (isFirst && !serving.has(worker)) process.exit(1)
    serving.delete(worker)
    log.error(`process ${worker.process.pid} ended with ${signal ?? `code ${exitCode}`}: another is started`)
    await setTimeout(Math.max(0, SHORT_LIFE_MS - (performance.now() - begun)))
    await keepRunning(false, () => {})
  }

  async function reportOf(worker: Worker): Promise<Report[]> {
    let listen = (_message: ToPrimary) => {}
    const report = new Promise<Report[]>((resolve) => {
      listen = (message) => {
        if (typeof message === 'object') resolve([message.report])
      }
    })
    worker.on('message', listen)
    send(worker, 'report')
    const reported = await Promise.race([report, setTimeout(REPORT_MS, [])])
    worker.off('message', listen)
    return reported
  }

  async function allMetrics(): Promise<string> {
    const reports = await Promise.all([...serving].map(reportOf))
    return AggregatorRegistry.aggregate(reports.flat()).metrics()
  }

  const stop = () => {
    const message = isStopping ? 'end' : 'stop'
    isStopping = true
    for (const worker of running) send(worker, message)
    if (running.size === 0) process.exit(code)
  }
  process
    .on('SIGTERM', stop)
    .on('SIGINT', stop)
    .on('SIGHUP', () => {
      reloads++
      for (const worker of serving) send(worker, 'reload')
    })
  await new Promise<void>((resolve) => {
    void keepRunning(true, resolve)
  })
  for (let i = 1; i < count; i++) void keepRunning(false, () => {})
}

/** What a process does at a signal. */
export interface Actions {
  /** finish and end; asked for again, it changes nothing */
  stop(): void
  /** end now */
  end(): void
  reload(): void
}

/**
 * Do as the signals say: SIGTERM and SIGINT stop, the second of them ends, SIGHUP reloads.
 *
 * A terminal, or systemd, signals all processes of a group at once; those that have a primary wait for its word, or stop
 * when they are meant alone.
 */
export function onSignals({ stop, end, reload }: Actions): void {
  let isStopping = false
  const stopOrEnd = () => {
    if (isStopping) return end()
    isStopping = true
    stop()
  }
  if (!cluster.isWorker) {
    process.on('SIGTERM', stopOrEnd).on('SIGINT', stopOrEnd).on('SIGHUP', reload)
    return
  }
  process
    .on('SIGTERM', stop)
    .on('SIGINT', () => {})
    .on('SIGHUP', () => {})
  const actions: Partial<Record<string, () => void>> = { stop, end, reload }
  process.on('message', (message: ToWorker) => {
    if (typeof message === 'string') actions[message]?.()
  })
}

/** What gives the metrics of this process, or of all together. */
export function metricsOf(registry: Registry): () => Promise<string> {
  if (!cluster.isWorker) return () => registry.metrics()
  const tell = (message: ToPrimary) => process.send!(message)
  let waiting: ((metrics: string) => void)[] = []
  process.on('message', async (message: ToWorker) => {
    if (message === 'report') tell({ report: await registry.getMetricsAsJSON() })
    if (typeof message !== 'object') return
    for (const resolve of waiting) resolve(message.metrics)
    waiting = []
  })
  return () => {
    if (waiting.length === 0) tell('metrics') // whoever asks before it has come gets the same
    return new Promise((resolve) => {
      waiting.push(resolve)
    })
  }
}
