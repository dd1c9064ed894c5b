/** Limits the number of tasks that run at once. Requests take turns, however many tasks they have. */
import { Rate } from '../inference/rate.ts'
import type { Signal } from '../inference/signal.ts'

interface Waiting {
  start: () => void
  cancel: (reason: unknown) => void
}

export class FairQueue {
  readonly #limit: number
  readonly #onDone: (ms: number) => void
  /** waiting tasks by the signal of their request; the request whose turn is next comes first */
  readonly #requests = new Map<Signal, Waiting[]>()
  readonly #rate = new Rate()
  #running = 0
  #waiting = 0

  /**
   * @param limit most tasks that run at once
   * @param onDone called with the duration of each task in milliseconds
   */
  constructor(limit: number, onDone: (ms: number) => void = () => {}) {
    this.#limit = limit
    this.#onDone = onDone
  }

  /** Tasks that wait. */
  get waiting(): number {
    return this.#waiting
  }

  /** Estimated seconds until all waiting tasks are done. */
  get estimatedWaitSeconds(): number {
    return this.#rate.secondsFor(this.#waiting)
  }

  /** Whether requests other than this one wait. */
  othersWait(signal: Signal): boolean {
    return this.#requests.size > (this.#requests.has(signal) ? 1 : 0)
  }

  /**
   * Run a task in its request's turn.
   *
   * @param signal of the request: aborting it cancels its waiting tasks, not those that run
   * @throws the signal's reason, or what the task throws
   */
  run<T>(signal: Signal, task: () => Promise<T>): Promise<T> {
    if (signal.reason) return Promise.reject(signal.reason)
    if (this.#running < this.#limit && this.#waiting === 0) return this.#start(task)
    return new Promise<T>((resolve, reject) => {
      const waiting = { start: () => resolve(this.#start(task)), cancel: reject }
      const tasks = this.#requests.get(signal)
      if (tasks) tasks.push(waiting)
      else {
        this.#requests.set(signal, [waiting])
        signal.onAbort((reason) => this.#cancel(signal, reason))
      }
      this.#waiting++
    })
  }

  async #start<T>(task: () => Promise<T>): Promise<T> {
    const startedAt = performance.now()
    this.#running++
    try {
      const result = await task()
      // so many are done in this time, since they run at once
      this.#rate.record(this.#limit, performance.now() - startedAt)
      return result
    } finally {
      this.#onDone(performance.now() - startedAt)
      this.#running--
      this.#startNext()
    }
  }

  #startNext(): void {
    for (const [signal, tasks] of this.#requests) {
      if (this.#running >= this.#limit) return
      const next = tasks.shift()
      // the request goes to the end of the line, or leaves it
      this.#requests.delete(signal)
      if (tasks.length > 0) this.#requests.set(signal, tasks)
      if (!next) continue
      this.#waiting--
      next.start()
    }
  }

  #cancel(signal: Signal, reason: unknown): void {
    const tasks = this.#requests.get(signal) ?? []
    this.#requests.delete(signal)
    this.#waiting -= tasks.length
    for (const { cancel } of tasks) cancel(reason)
  }
}
