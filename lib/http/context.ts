/** What one request goes through: until when it is worth working on, and where its time went. */
import type { Response } from 'express'
import type { RequestError } from '../inference/errors.ts'

/**
 * Whether a request is still worth working on. What the platform's AbortSignal does, as far as it is needed here: each
 * request has one, and that takes as long as all of its routing.
 */
export class Interest {
  /** why it is lost, the error to answer; undefined while it lasts */
  lost: RequestError | undefined
  #listeners = new Set<(reason: RequestError) => void>()

  lose(reason: RequestError): void {
    if (this.lost) return
    this.lost = reason
    for (const listener of this.#listeners) listener(reason)
    this.#listeners.clear()
  }

  /** Be told when it is lost. */
  onLoss(listener: (reason: RequestError) => void): void {
    this.#listeners.add(listener)
  }

  forget(listener: (reason: RequestError) => void): void {
    this.#listeners.delete(listener)
  }
}

/** What a request takes up while it is worked on. */
export interface Place {
  /**
   * Count so many more bytes of its body that are kept.
   *
   * @throws RequestError 503 when those of all requests together are too many
   */
  take(bytes: number): void
  /** Release this memory, of its body or of what was made of it, when the request is over. */
  hold(memory: ArrayBuffer): void
  /**
   * Ask for room for so many samples, now that they are known.
   *
   * @throws RequestError 413 more than the queue holds, 503 with Retry-After when they find no place in it
   */
  admit(samples: number): void
  /** The request is over. */
  leave(): void
}

export interface Trace {
  /** the client's `x-request-id`, or one of our own */
  readonly id: string
  /** lost when the client has gone or the time is up */
  readonly interest: Interest
  /** of its body that were kept in memory */
  bytes?: number
  /** what it has been given by `Admission.attend` */
  place?: Place
  /** from the image files to their tensors, milliseconds */
  preprocessMs?: number
  /** longest wait for a batch, milliseconds */
  queueMs?: number
  /** longest run of a batch that it was in, milliseconds */
  inferenceMs?: number
  /** samples in the largest of these batches */
  batchSize?: number
  /** what was answered */
  label?: string
}

/** Of any response of the app: `observe` has set it. */
export function traceOf(res: Response): Trace {
  return res.locals.trace
}

/** Settles as `work` does, unless the interest in it is lost before: then it rejects with the reason. */
export function whileWanted<T>(interest: Interest, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    interest.onLoss(reject)
    work.then(
      (value) => {
        interest.forget(reject)
        resolve(value)
      },
      (error) => {
        interest.forget(reject)
        reject(error)
      },
    )
  })
}

/** The `Server-Timing` of what has been measured, for browsers' developer tools. */
export function serverTiming({ preprocessMs, queueMs, inferenceMs }: Trace): string {
  return Object.entries({ preprocess: preprocessMs, queue: queueMs, inference: inferenceMs })
    .filter(([, ms]) => ms !== undefined)
    .map(([name, ms]) => `${name};dur=${ms!.toFixed(2)}`)
    .join(', ')
}
