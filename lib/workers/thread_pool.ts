/**
 * Runs exported functions of modules in a pool of threads (piscina), so that the event loop stays free.
 *
 * What waits, waits here and not in the pool: one request after the other gets a thread, however many images each has,
 * and what belongs to a request that has been given up is forgotten.
 */
import type { Piscina } from 'piscina'
import type { Interest } from '../http/context.ts'
import { RequestError } from '../inference/errors.ts'
import { Rate } from '../inference/rate.ts'

/** A function that threads can run: an export, made by `inThread`, of the module in a file. */
export interface ThreadFunction {
  file: string
  name: string
}

export interface ThreadPool {
  /**
   * @param task the function's argument, copied into the thread but for the memory that is moved there
   * @param interest of the request: tasks of one wait in its queue, and leave it when it is lost
   * @param moved memory that nobody else needs
   * @throws what the function threw, a RequestError as the RequestError it was
   */
  run<Result>(work: ThreadFunction, task: unknown, interest: Interest, moved?: ArrayBuffer[]): Promise<Result>
  /** Start one thread now, so that the first task does not wait for that; the others come with the tasks. */
  start(): Promise<void>
  /** tasks that no thread has begun */
  readonly waiting: number
  /** whole seconds until what waits now has been done, see `Rate` */
  readonly secondsLeft: number
  close(): Promise<void>
}

/** Not loaded with this module: it takes a moment, and a server of tensors needs none. */
const importPiscina = () => import('piscina')
let piscina: ReturnType<typeof importPiscina> | undefined
function loadPiscina() {
  piscina ??= importPiscina()
  return piscina
}

type Outcome<Result> = { value: Result } | { status: number; detail: string }

/**
 * Make a function fit for the pool: a RequestError, which would lose its class and status between threads, travels as
 * plain data.
 *
 * @param memoryOf its result, which is moved to the main thread and not copied
 */
export function inThread<Task, Result>(
  work: (task: Task) => Result | Promise<Result>,
  memoryOf: (result: Result) => ArrayBufferView[],
) {
  return async (task: Task): Promise<object> => {
    try {
      const value = await work(task)
      const { move, transferableSymbol, valueSymbol } = await loadPiscina()
      const memory = new Set(memoryOf(value).map(({ buffer }) => buffer))
      return move({ [transferableSymbol]: [...memory], [valueSymbol]: { value } } as never)
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
  /** most threads */
  threads: number
  /** what they mostly run: loaded when they start */
  usual: ThreadFunction
  /** must have been done in this thread before a task runs in another */
  prepare: () => Promise<unknown>
  /** told how many milliseconds each task ran */
  onDone: (ms: number) => void
}

export function createThreadPool({ threads, usual, prepare, onDone }: PoolOptions): ThreadPool {
  let starting: Promise<Piscina> | undefined
  function start(): Promise<Piscina> {
    starting ??= startPool()
    return starting
  }
  async function startPool(): Promise<Piscina> {
    const [{ Piscina }] = await Promise.all([loadPiscina(), prepare()])
    return new Piscina({
      minThreads: 1,
      maxThreads: threads,
      idleTimeout: Number.POSITIVE_INFINITY,
      filename: usual.file,
      name: usual.name,
      recordTiming: false, // is done here
    })
  }
  const queues = new Map<Interest, Waiting[]>()
  const rate = new Rate()
  let waiting = 0
  let running = 0

  async function run<Result>(
    { file, name }: ThreadFunction,
    task: unknown,
    moved: ArrayBuffer[] = [],
  ): Promise<Result> {
    const begun = performance.now()
    running++
    try {
      const pool = await start()
      const outcome: Outcome<Result> = await pool.run(task, {
        filename: file,
        name,
        transferList: moved,
      })
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
    for (const [interest, tasks] of queues) {
      if (running >= threads) return
      const next = tasks.shift()
      // to the end of the line, or out of it
      queues.delete(interest)
      if (tasks.length > 0) queues.set(interest, tasks)
      waiting--
      next?.begin()
    }
  }

  function giveUp(interest: Interest, reason: RequestError): void {
    const tasks = queues.get(interest) ?? []
    queues.delete(interest)
    waiting -= tasks.length
    for (const task of tasks) task.giveUp(reason)
  }

  return {
    run<Result>(work: ThreadFunction, task: unknown, interest: Interest, moved?: ArrayBuffer[]) {
      if (interest.lost) return Promise.reject(interest.lost)
      if (running < threads && waiting === 0) return run<Result>(work, task, moved)
      return new Promise<Result>((resolve, reject) => {
        const begin = () => resolve(run<Result>(work, task, moved))
        const tasks = queues.get(interest)
        if (tasks) tasks.push({ begin, giveUp: reject })
        else {
          queues.set(interest, [{ begin, giveUp: reject }])
          interest.onLoss((reason) => giveUp(interest, reason))
        }
        waiting++
      })
    },
    async start() {
      await start()
    },
    get waiting() {
      return waiting
    },
    get secondsLeft() {
      return rate.secondsFor(waiting)
    },
    async close() {
      await (await starting)?.close({ force: true })
    },
  }
}
