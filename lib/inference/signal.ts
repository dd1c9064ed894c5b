/** Cancellation of a request's work. */
import type { RequestError } from './errors.ts'

/**
 * The platform's AbortSignal, reduced to what a request needs. Creating an AbortController, adding two listeners, removing
 * one and aborting it takes 7 us (Node 20), a twentieth of a tensor request; this class takes 0.15 us.
 */
export class Signal {
  /** the error to send; undefined until the signal is aborted */
  reason: RequestError | undefined
  readonly #listeners = new Set<(reason: RequestError) => void>()

  /** The first call wins. */
  abort(reason: RequestError): void {
    if (this.reason) return
    this.reason = reason
    for (const listener of this.#listeners) listener(reason)
    this.#listeners.clear()
  }

  /** Call the listener once, when the signal is aborted. */
  onAbort(listener: (reason: RequestError) => void): void {
    this.#listeners.add(listener)
  }

  offAbort(listener: (reason: RequestError) => void): void {
    this.#listeners.delete(listener)
  }
}

/** Settles as `work` does; rejects with the signal's reason if it is aborted first. */
export function abortable<T>(signal: Signal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    if (signal.reason) return reject(signal.reason)
    signal.onAbort(reject)
    // not `finally()`, which creates two more promises per request
    work.then(
      (value) => {
        signal.offAbort(reject)
        resolve(value)
      },
      (error) => {
        signal.offAbort(reject)
        reject(error)
      },
    )
  })
}
