/** Runs exported functions of modules in a pool of threads (piscina), so that the event loop stays free. */
import type { Piscina } from 'piscina'
import { RequestError } from '../inference/errors.ts'
import { WORKER_LIMITS } from '../inference/session.ts'
import type { Signal } from '../inference/signal.ts'
import { FairQueue } from './fair_queue.ts'

/** An export, made by `threadFunction`, of the module in a file. */
export interface ThreadFunction {
  file: string
  name: string
}

type Outcome<Result> = { value: Result } | { status: number; detail: string }

/**
 * Let piscina (5.3) describe a thread once, instead of anew for each task: V8 makes a hidden class for every description, a
 * kilobyte in the old generation. That makes full collections frequent, and each of them drops compiled code.
 *
 * @param description of a new thread; its only symbol refers to the object whose `interface` it is
 */
export function keepDescription(description: Record<symbol, unknown>): void {
  for (const symbol of Object.getOwnPropertySymbols(description)) {
    // neither throws: another version of piscina may keep other things there
    Reflect.defineProperty(Object(description[symbol]), 'interface', { value: description })
  }
}

/** Loaded on first use, in each thread: it takes a moment, and a server of tensors does not need it. */
const importPiscina = () => import('piscina')
let piscina: ReturnType<typeof importPiscina> | undefined
function loadPiscina() {
  piscina ??= importPiscina()
  return piscina
}

/**
 * Prepare a function for the pool. A RequestError would lose its class and status between threads, so it is returned as
 * plain data.
 *
 * @param transferOf its result: memory that is transferred to the main thread instead of copied
 */
export function threadFunction<Task, Result>(
  work: (task: Task) => Result | Promise<Result>,
  transferOf: (result: Result) => ArrayBufferView[],
) {
  return async (task: Task): Promise<object> => {
    try {
      const value = await work(task)
      const { move, transferableSymbol, valueSymbol } = await loadPiscina()
      const memory = new Set(transferOf(value).map(({ buffer }) => buffer))
      return move({ [transferableSymbol]: [...memory], [valueSymbol]: { value } } as never)
    } catch (error) {
      if (!(error instanceof RequestError)) throw error
      return { status: error.status, detail: error.message }
    }
  }
}

export class ThreadPool {
  readonly #threads: number
  readonly #preloaded: ThreadFunction
  readonly #queue: FairQueue
  #pool: Promise<Piscina> | undefined

  /**
   * @param threads most threads
   * @param preloaded in each thread when it starts
   * @param onDone called with the duration of each task in milliseconds
   */
  constructor(threads: number, preloaded: ThreadFunction, onDone?: (ms: number) => void) {
    this.#threads = threads
    this.#preloaded = preloaded
    this.#queue = new FairQueue(threads, onDone)
  }

  /** Tasks that have not started. */
  get waiting(): number {
    return this.#queue.waiting
  }

  /** Estimated seconds until all waiting tasks are done. */
  get estimatedWaitSeconds(): number {
    return this.#queue.estimatedWaitSeconds
  }

  /**
   * @param task the function's argument, copied into the thread
   * @param signal of the request, see `FairQueue.run`
   * @param transfer memory of the task that is transferred instead of copied
   * @throws what the function throws; a RequestError keeps its class
   */
  run<Result>(
    { file, name }: ThreadFunction,
    task: unknown,
    signal: Signal,
    transfer: ArrayBuffer[] = [],
  ): Promise<Result> {
    return this.#queue.run(signal, async () => {
      const pool = await this.#start()
      const outcome: Outcome<Result> = await pool.run(task, { filename: file, name, transferList: transfer })
      if ('value' in outcome) return outcome.value
      throw new RequestError(outcome.status, outcome.detail)
    })
  }

  /** Start the first thread now, so that the first task does not wait for it; others start when they are needed. */
  async start(): Promise<void> {
    await this.#start()
  }

  #start(): Promise<Piscina> {
    this.#pool ??= this.#create().catch((error) => {
      this.#pool = undefined // the next task tries again
      throw error
    })
    return this.#pool
  }

  async #create(): Promise<Piscina> {
    const { Piscina } = await loadPiscina()
    const { file: filename, name } = this.#preloaded
    const pool = new Piscina({
      minThreads: 1,
      maxThreads: this.#threads,
      idleTimeout: Number.POSITIVE_INFINITY,
      filename,
      name,
      recordTiming: false,
      resourceLimits: WORKER_LIMITS,
      // piscina tries `require` before `import`: Node 20 aborts if the process ends while a thread requires an ES module
      execArgv: ['--no-experimental-require-module'],
    })
    return pool.on('workerCreate', keepDescription)
  }

  async close(): Promise<void> {
    await (await this.#pool)?.close({ force: true })
  }
}
