/** Runs exported functions of one module in a pool of threads (piscina), so that the event loop stays free. */
import { move, Piscina, transferableSymbol, valueSymbol } from 'piscina'
import { RequestError } from './errors.ts'

export interface ThreadPool {
  /**
   * @param name an export of the module, made by `inThread`
   * @param task its argument, copied into the thread
   * @throws what the function threw, a RequestError as the RequestError it was
   */
  run<Result>(name: string, task: unknown): Promise<Result>
  /** tasks that no thread has begun */
  readonly waiting: number
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
      return move({ [transferableSymbol]: [value.data.buffer], [valueSymbol]: { value } })
    } catch (error) {
      if (!(error instanceof RequestError)) throw error
      return { status: error.status, detail: error.message }
    }
  }
}

/**
 * @param module with the functions to run
 * @param threads started when the first tasks come
 */
export function createThreadPool(module: URL, threads: number): ThreadPool {
  const pool = new Piscina({
    filename: module.href,
    minThreads: 0,
    maxThreads: threads,
    idleTimeout: Number.POSITIVE_INFINITY,
  })
  return {
    async run<Result>(name: string, task: unknown) {
      const outcome: Outcome<Result> = await pool.run(task, { name })
      if ('value' in outcome) return outcome.value
      throw new RequestError(outcome.status, outcome.detail)
    },
    get waiting() {
      return pool.queueSize
    },
    close: () => pool.close({ force: true }),
  }
}
