/**
 * Metrics of several processes, added up. A process asks the supervisor, which collects the metrics of all processes.
 *
 * prom-client's own cluster support fails when a process does not reply, such as one that is still starting.
 */
import cluster, { type Worker } from 'node:cluster'
import type { MetricObjectWithValues, MetricValue, Registry } from 'prom-client'
import type { Command } from './signals.ts'

type Report = MetricObjectWithValues<MetricValue<string>>[]

/** To the supervisor: a request for the metrics of all processes, or this process's own. */
type ToSupervisor = 'metrics' | { report: Report }

/** From the supervisor: a request for this process's metrics, or those of all. */
type ToProcess = 'report' | { metrics: string }

/** A process that takes longer to reply is left out, in milliseconds. */
const REPORT_MS = 2000

/** @returns a function that reads the metrics, in Prometheus' text format, of this process or of all under its supervisor */
export function metricsReader(registry: Registry): () => Promise<string> {
  if (!cluster.isWorker) return () => registry.metrics()
  const send = (message: ToSupervisor) => process.send?.(message)
  let waiting: ((metrics: string) => void)[] = []
  process.on('message', async (message: ToProcess) => {
    if (message === 'report') send({ report: (await registry.getMetricsAsJSON()) as Report })
    if (typeof message !== 'object') return
    for (const resolve of waiting) resolve(message.metrics)
    waiting = []
  })
  return () => {
    if (waiting.length === 0) send('metrics') // concurrent readers share one answer
    return new Promise((resolve) => {
      waiting.push(resolve)
    })
  }
}

/** In the supervisor: reply to a process's requests for the metrics of all `processes`. */
export function answerMetrics(worker: Worker, processes: ReadonlySet<Worker>): void {
  worker.on('message', async (message: ToSupervisor) => {
    if (message !== 'metrics') return
    const { AggregatorRegistry } = await import('prom-client')
    const reports = await Promise.all([...processes].map(reportOf))
    const metrics = await AggregatorRegistry.aggregate(reports.flat()).metrics()
    send(worker, { metrics })
  })
}

function reportOf(worker: Worker): Promise<Report[]> {
  return new Promise((resolve) => {
    const finish = (reports: Report[]) => {
      clearTimeout(timer)
      worker.off('message', listen)
      resolve(reports)
    }
    const listen = (message: ToSupervisor) => {
      if (typeof message === 'object') finish([message.report])
    }
    worker.on('message', listen)
    const timer = setTimeout(finish, REPORT_MS, [])
    send(worker, 'report')
  })
}

/** Send a message to a process. */
export function send(worker: Worker, message: ToProcess | Command): void {
  if (worker.isConnected()) worker.send(message, () => {}) // it may be exiting
}
