/** WEB_CONCURRENCY: several processes that share one port, replaced when they die, stopped and reloaded together. */
import cluster, { type Worker } from 'node:cluster'
import { setTimeout } from 'node:timers/promises'
import type { Logger } from 'pino'
import { answerMetrics, send } from './cluster_metrics.ts'

/** A process that lived for less than this is replaced only after this time, in milliseconds. */
const SHORT_LIFE_MS = 1000

const PLACE = 'ONNXPRESS_PROCESS'

/** Whether this process does what only one of them should; if it dies, its replacement does. */
export function isFirstProcess(): boolean {
  return cluster.isPrimary || process.env[PLACE] === '0'
}

/** Resolves when a process has ended. Errors are those of the channel to it, unless it could not be started. */
function endOf(worker: Worker): Promise<{ code: number | null; signal: string | null }> {
  return new Promise((resolve) => {
    worker.once('exit', (code, signal) => resolve({ code, signal }))
    worker.on('error', () => {
      if (worker.process.pid === undefined) resolve({ code: 1, signal: null })
    })
  })
}

/**
 * Run copies of this process and supervise them; exit when they have exited.
 *
 * The first must serve before the others are started. If it cannot start, it has printed why, and the exit code is 1.
 */
export async function superviseProcesses(count: number, log: Logger): Promise<void> {
  const running = new Set<Worker>()
  const serving = new Set<Worker>()
  let isStopping = false
  let reloads = 0
  let exitCode = 0

  function start(place: number, onServing?: () => void): Worker {
    const reloadsBefore = reloads
    const worker = cluster.fork({ [PLACE]: place })
    running.add(worker)
    worker.once('listening', () => {
      serving.add(worker)
      if (reloads > reloadsBefore) send(worker, 'reload')
      if (isStopping) send(worker, 'stop')
      onServing?.()
    })
    answerMetrics(worker, serving)
    return worker
  }

  /** @param onServing only for the first, without which the others are not started */
  async function keepRunning(place: number, onServing?: () => void): Promise<void> {
    if (isStopping) return
    const startedAt = performance.now()
    const worker = start(place, onServing)
    const { code, signal } = await endOf(worker)
    const hasServed = serving.delete(worker)
    running.delete(worker)
    const cause = `ended with ${signal ?? `code ${code}`}`
    if (isStopping) {
      // a process that was starting had nothing to lose, and ONNX Runtime may abort one that exits while it loads
      if (hasServed) exitCode ||= code ?? 1
      if (running.size === 0) process.exit(exitCode)
      return
    }
    if (onServing && !hasServed) {
      if (signal)
        console.error(
          `onnxpress: process ${worker.process.pid} ${cause} before it was ready: check the memory limit`,
        )
      process.exit(1)
    }
    log.error(`process ${worker.process.pid} ${cause}: starting another`)
    await setTimeout(Math.max(0, SHORT_LIFE_MS - (performance.now() - startedAt)))
    await keepRunning(place)
  }

  const stop = () => {
    const command = isStopping ? 'exit' : 'stop'
    isStopping = true
    for (const worker of running) send(worker, command)
    if (running.size === 0) process.exit(exitCode)
  }
  const reload = () => {
    reloads++
    for (const worker of serving) send(worker, 'reload')
  }
  process.on('SIGTERM', stop).on('SIGINT', stop).on('SIGHUP', reload)
  await new Promise<void>((resolve) => {
    void keepRunning(0, resolve)
  })
  for (let place = 1; place < count; place++) void keepRunning(place)
}
