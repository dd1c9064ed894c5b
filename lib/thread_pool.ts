/**
 * Runs exported functions of one module in a pool of threads (piscina), so that the event loop stays free.
 *
 * What waits, waits here and not in the pool: one request after the other gets a thread, however many images each has,
 * and what belongs to a request that has been given up is forgotten.
 */
import type { Piscina } from 'piscina'
import { RequestError } from './errors.ts'
import { Rate } from './rate.ts'

export interface ThreadPool {
  /**
   * @param name an export of the module, made by `inThread`
   * @param task its argument, copied into the thread
   * @param signal of the request: tasks of one wait in its queue, and leave it when it is aborted
   * @throws what the function threw, a RequestError as the RequestError it was
   */
  run<Result>(name: string, task: unknown, signal: AbortSignal): Promise<Result>
  /** tasks that no thread has begun */
  readonly waiting: number
  /** whole seconds until what waits now has been done, see `Rate` */
  readonly secondsLeft: number
  close(): Promise<void>
}

type Outcome<Result> = { value: Result } | { status: number; detail: string }

/**
 * Make a function fit for the pool: its result's `data` is moved to the main thread, not copied, and a
 * RequestError, which would lose its class and status between threads, travels as plain data.
 */
export function inThread<Task, Result extends { data: ArrayBufferView }>(
  work: (task: Task) => Promise<Result>,
) {
  return async (task: Task): Promise<object> => {
    try {
      const value = await work(task)
      const { move, transferableSymbol, valueSymbol } = await import('piscina')
      return move({ [transferableSymbol]: [value.data.buffer], [valueSymbol]: { value } } as never)
    } catch (error) {
      if (!(error instanceof RequestError)) throw error
      return { status: error.status, detail: error.message }
    }
  }
}

interface Waiting {
  begin: () => void
  giveUp: (reason: unknown) => void
}

interface PoolOptions {
  /** with the functions to run */
  module: URL
  /** most threads, started as tasks come */
  threads: number
  /** must have been done in this thread before a task runs in another */
  prepare: () => Promise<unknown>
  /** told how many milliseconds each task ran */
  onDone: (ms: number) => void
}

export function createThreadPool({ module, threads, prepare, onDone }: PoolOptions): ThreadPool {
  let pool: Promise<Piscina> | undefined
  /** Only when there are tasks: a server of tensors has no need of it. */
  async function start(): Promise<Piscina> {
    const [{ Piscina }] = await Promise.all([import('piscina'), prepare()])
    return new Piscina({
      filename: module.href,
      minThreads: 0,
      maxThreads: threads,
      idleTimeout: Number.POSITIVE_INFINITY,
    })
  }
  const queues = new Map<AbortSignal, Waiting[]>()
  const rate = new Rate()
  let waiting = 0
  let running = 0

  async function run<Result>(name: string, task: unknown): Promise<Result> {
    const begun = performance.now()
    running++
    try {
      pool ??= start()
      const outcome: Outcome<Result> = await (await pool).run(task, { name })
      if ('value' in outcome) return outcome.value
      throw new RequestError(outcome.status, outcome.detail)
    } finally {
      const ms = performance.now() - begun
      rate.done(threads, ms)
      onDone(ms)
      running--
      beginNext()
    }
  }

  function beginNext(): void {
    for (const [signal, tasks] of queues) {
      if (running >= threads) return
      const next = tasks.shift()
      // to the end of the line, or out of it
      queues.delete(signal)
      if (tasks.length > 0) queues.set(signal, tasks)
      waiting--
      next?.begin()
    }
  }

  function giveUp(signal: AbortSignal): void {
    const tasks = queues.get(signal) ?? []
    queues.delete(signal)
    waiting -= tasks.length
    for (const task of tasks) task.giveUp(signal.reason)
  }

  return {
    run<Result>(name: string, task: unknown, signal: AbortSignal) {
      if (signal.aborted) return Promise.reject(signal.reason)
      if (running < threads && waiting === 0) return run<Result>(name, task)
      return new Promise<Result>((resolve, reject) => {
        const begin = () => resolve(run<Result>(name, task))
        const tasks = queues.get(signal)
        if (tasks) tasks.push({ begin, giveUp: reject })
        else {
          queues.set(signal, [{ begin, giveUp: reject }])
          signal.addEventListener('abort', () => giveUp(signal), { once: true })
        }
        waiting++
      })
    },
    get waiting() {
      return waiting
    },
    get secondsLeft() {
      return rate.secondsFor(waiting)
    },
    async close() {
      await (await pool)?.close({ force: true })
    },
  }
}
