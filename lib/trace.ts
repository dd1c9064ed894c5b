/** What one request goes through: until when it is worth working on, and where its time went. */
import type { Response } from 'express'

export interface Trace {
  /** the client's `x-request-id`, or one of our own */
  readonly id: string
  /** aborted when the client has gone or the time is up; its reason is the error to answer */
  readonly signal: AbortSignal
  /** of its body that are, or were, in memory */
  bytes?: number
  /**
   * Count so many more of them.
   *
   * @throws RequestError 503 when those of all requests together are too many
   */
  take?: (bytes: number) => void
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

/** Settles as `work` does, unless the signal is aborted before: then it rejects with the reason. */
export function untilAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason)
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}

/** The `Server-Timing` of what has been measured, for browsers' developer tools. */
export function serverTiming({ preprocessMs, queueMs, inferenceMs }: Trace): string {
  return Object.entries({ preprocess: preprocessMs, queue: queueMs, inference: inferenceMs })
    .filter(([, ms]) => ms !== undefined)
    .map(([name, ms]) => `${name};dur=${ms!.toFixed(2)}`)
    .join(', ')
}
