/** WEB_CONCURRENCY: several processes that share one port, replaced when they die, stopped and reloaded together. */
import cluster, { type Worker } from 'node:cluster'
import { once } from 'node:events'
import { setTimeout } from 'node:timers/promises'
import type { Registry } from 'prom-client'
import type { Log } from './log.ts'

/** What the primary tells its workers; `metrics` is what they ask for. */
type Message = 'stop' | 'reload' | 'metrics' | { metrics: string }

/** A process that does not live as long is replaced only then. */
const SHORT_LIFE_MS = 1000

/**
 * Run as many copies of this process; this one only looks after them, and ends when they have.
 *
 * The first must serve before the others are started: if it cannot, it has said why, and the whole ends with code 1.
 */
export async function runPrimary(count: number, log: Log): Promise<void> {
  const { AggregatorRegistry } = await import('prom-client')
  const aggregator = new AggregatorRegistry()
  const workers = () => Object.values(cluster.workers ?? {}) as Worker[]
  const tell = (message: Message) => {
    for (const worker of workers()) worker.send(message)
  }
  let isStopping = false
  let code = 0

  async function keepRunning(isFirst: boolean, onServing: () => void): Promise<void> {
    const begun = performance.now()
    const worker = cluster.fork()
    worker.once('listening', onServing)
    worker.on('message', async (message: Message) => {
      if (message !== 'metrics') return
      const metrics = await aggregator.clusterMetrics().catch((error) => `# ${error}\n`)
      if (worker.isConnected()) worker.send({ metrics } satisfies Message)
    })
    const [exitCode, signal] = await once(worker, 'exit')
    if (isStopping) {
      code ||= exitCode ?? 1
      if (workers().length === 0) process.exit(code)
      return
    }
    const hasServed = worker.listenerCount('listening') === 0
    if (isFirst && !hasServed) process.exit(1)
    log.error(`process ${worker.process.pid} ended with ${signal ?? `code ${exitCode}`}: another is started`)
    await setTimeout(Math.max(0, SHORT_LIFE_MS - (performance.now() - begun)))
    if (!isStopping) await keepRunning(false, () => {})
  }

  const stop = () => {
    isStopping = true
    tell('stop')
    if (workers().length === 0) process.exit(code)
  }
  process
    .on('SIGTERM', stop)
    .on('SIGINT', stop)
    .on('SIGHUP', () => tell('reload'))
  await new Promise<void>((resolve) => {
    void keepRunning(true, resolve)
  })
  for (let i = 1; i < count; i++) void keepRunning(false, () => {})
}

/**
 * Do as the signals say: SIGTERM and SIGINT stop, SIGHUP reloads.
 *
 * A terminal sends SIGINT and SIGHUP to all processes at once; those that have a primary wait for its word.
 */
export function onSignals(stop: () => void, reload: () => void): void {
  process.on('SIGTERM', stop)
  if (!cluster.isWorker) {
    process.on('SIGINT', stop).on('SIGHUP', reload)
    return
  }
  process.on('SIGINT', () => {}).on('SIGHUP', () => {})
  process.on('message', (message: Message) => {
    if (message === 'stop') stop()
    if (message === 'reload') reload()
  })
}

/** What gives the metrics of this process, or of all together. */
export function metricsOf(registry: Registry): () => Promise<string> {
  if (!cluster.isWorker) return () => registry.metrics()
  void import('prom-client').then(({ AggregatorRegistry }) => {
    new AggregatorRegistry() // answers when the primary asks for this process's
    AggregatorRegistry.setRegistries(registry)
  })
  return async () => {
    process.send!('metrics' satisfies Message)
    for (;;) {
      const [message]: Message[] = await once(process, 'message')
      if (typeof message === 'object' && 'metrics' in message) return message.metrics
    }
  }
}
