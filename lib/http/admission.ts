/** Admission control: a request that could not be answered in time is refused before its body is read. */

import { release } from '../../preprocess/index.ts'
import { RequestError } from '../inference/errors.ts'
import { retryAfter } from '../inference/rate.ts'
import type { RequestContext } from './context.ts'
import { sendContinue } from './http_server.ts'
import type { Metrics } from './metrics.ts'

/** Memory cap for bodies and the tensors that are made from them, in multiples of the largest body or tensor. */
const MAX_BODIES = 16

/** How long a request keeps a slot for its samples while its body arrives, in milliseconds. Slower senders may find the queue full. */
const ARRIVAL_MS = 1000

/** The context of a request that was admitted. */
export interface AdmittedContext extends RequestContext {
  readonly reservation: Reservation
}

/** A queue that samples pass through. */
interface Queue {
  /** samples that wait */
  readonly waiting: number
  readonly estimatedWaitSeconds: number
}

export interface AdmissionOptions {
  /** the queues that a sample passes through, in order */
  queues: Queue[]
  /** most samples that leave the last queue at once */
  batchSize: number
  /** most samples that may wait (MAX_QUEUE) */
  maxQueue: number
  /** largest body in bytes (MAX_UPLOAD_MB) */
  maxBodyBytes: number
  /** bytes of an image's tensor, if it is always the same */
  tensorBytes?: number
  metrics: Pick<Metrics, 'bytesInFlight'>
}

export class Admission {
  readonly #options: AdmissionOptions
  /** of all bodies and tensors in memory */
  #bytes = 0
  /** requests whose bodies are arriving */
  #arriving = 0

  constructor(options: AdmissionOptions) {
    this.#options = options
  }

  /**
   * The error if one more request would overflow the queue or the memory, else undefined. One batch of the requests whose
   * bodies are arriving is not counted: the session may take that many from the queue meanwhile.
   */
  overloadError(): RequestError | undefined {
    const { batchSize, tensorBytes = 0 } = this.#options
    return this.#memoryError(tensorBytes) ?? this.#overflow(1, Math.max(0, this.#arriving - batchSize))
  }

  /**
   * Run a request's work.
   *
   * @param work abandoned when the client disconnects or the time is up
   * @throws RequestError 503 when the queue is full, 413 when the announced body is too large, the signal's reason, and
   * what `work` throws
   */
  async run<T>(ctx: RequestContext, work: (ctx: AdmittedContext) => Promise<T>): Promise<T> {
    const overload = this.overloadError()
    if (overload) throw overload
    const { maxBodyBytes } = this.#options
    if (Number(ctx.req.headers['content-length'] ?? 0) > maxBodyBytes) throw bodyTooLarge(maxBodyBytes)
    sendContinue(ctx.req, ctx.res)
    const reservation = new Reservation(this, ctx)
    ctx.res.once('close', () => reservation.release())
    return ctx.wait(work(Object.assign(ctx, { reservation })))
  }

  /** Used only by `Reservation`. */
  countArriving(change: 1 | -1): void {
    this.#arriving += change
  }

  /**
   * Used only by `Reservation`.
   *
   * @param more bytes, for a request that has `ownBytes` already
   * @throws RequestError 413 when the request alone needs too much memory, 503 when all requests do together
   */
  checkBytes(more: number, ownBytes: number): void {
    const limit = this.#maxBytes
    if (ownBytes + more > limit) {
      const detail = `the request and its tensors have ${ownBytes + more} bytes; the limit is ${limit}, and grows with MAX_UPLOAD_MB: send less per request`
      throw new RequestError(413, detail)
    }
    const full = this.#memoryError(more)
    if (full) throw full
  }

  /** Used only by `Reservation`. */
  countBytes(change: number): void {
    this.#bytes += change
    this.#options.metrics.bytesInFlight.inc(change)
  }

  /** @throws RequestError 413 for more samples than the queue can hold, 503 when it is full */
  checkSamples(samples: number): void {
    const { maxQueue } = this.#options
    if (samples > maxQueue) {
      const detail = `${samples} samples in one request; the limit is ${maxQueue} (MAX_QUEUE): send several requests`
      throw new RequestError(413, detail)
    }
    const overflow = this.#overflow(samples)
    if (overflow) throw overflow
  }

  get #maxBytes(): number {
    const { maxBodyBytes, tensorBytes = 0 } = this.#options
    return MAX_BODIES * Math.max(maxBodyBytes, tensorBytes)
  }

  /** The error if there is no memory for so many bytes more. */
  #memoryError(bytes: number): RequestError | undefined {
    if (this.#bytes + bytes <= this.#maxBytes) return undefined
    const detail = `bodies and tensors of ${this.#bytes} bytes are being processed; the limit is ${this.#maxBytes}: try again later`
    return new RequestError(503, detail, retryAfter(this.#estimatedWaitSeconds))
  }

  /** The error if this many samples do not fit after the waiting ones and `arriving` others. */
  #overflow(samples: number, arriving = 0): RequestError | undefined {
    const { queues, maxQueue } = this.#options
    const waiting = queues.reduce((sum, queue) => sum + queue.waiting, arriving)
    if (waiting + samples <= maxQueue) return undefined
    const detail = `the queue is full: ${waiting} samples wait; the limit is ${maxQueue} (MAX_QUEUE): try again later`
    return new RequestError(503, detail, retryAfter(this.#estimatedWaitSeconds))
  }

  get #estimatedWaitSeconds(): number {
    return this.#options.queues.reduce((sum, queue) => sum + queue.estimatedWaitSeconds, 0)
  }
}

/** The resources of one request: a slot while its body arrives, memory, and room in the queue. */
export class Reservation {
  readonly #admission: Admission
  readonly #ctx: RequestContext
  readonly #arrival: NodeJS.Timeout
  readonly #owned: ArrayBuffer[] = []
  #isArriving = true
  #isReleased = false
  #bytes = 0

  constructor(admission: Admission, ctx: RequestContext) {
    this.#admission = admission
    this.#ctx = ctx
    admission.countArriving(1)
    this.#arrival = setTimeout(() => this.#arrived(), ARRIVAL_MS)
  }

  /**
   * Count bytes of the body that are kept in memory.
   *
   * @throws RequestError 503 when all requests need too much memory together, or the signal's reason
   */
  countBody(bytes: number): void {
    // drop the rest of a refused client's body
    if (this.#isReleased) throw new RequestError(400, 'the response was sent before the body was complete')
    if (this.#ctx.signal.reason) throw this.#ctx.signal.reason
    this.#count(bytes)
    this.#ctx.bytes = (this.#ctx.bytes ?? 0) + bytes
  }

  /**
   * Count the bytes of tensors that are made from the body.
   *
   * @throws RequestError 413 when the request alone needs too much memory, 503 when all requests do together
   */
  countTensors(bytes: number): void {
    if (!this.#isReleased) this.#count(bytes)
  }

  #count(bytes: number): void {
    this.#admission.checkBytes(bytes, this.#bytes)
    this.#admission.countBytes(bytes)
    this.#bytes += bytes
  }

  /** Free this memory when the request is over. */
  own(memory: ArrayBuffer): void {
    if (this.#isReleased) release(memory)
    else this.#owned.push(memory)
  }

  /**
   * Reserve room in the queue, now that the number of samples is known.
   *
   * @throws RequestError 413 for more samples than the queue holds, 503 when it is full
   */
  reserve(samples: number): void {
    this.#arrived()
    this.#admission.checkSamples(samples)
  }

  /** The request is over. */
  release(): void {
    if (this.#isReleased) return
    this.#isReleased = true
    this.#arrived()
    this.#admission.countBytes(-this.#bytes)
    this.#owned.forEach(release)
  }

  #arrived(): void {
    if (!this.#isArriving) return
    this.#isArriving = false
    this.#admission.countArriving(-1)
    clearTimeout(this.#arrival)
  }
}

export function bodyTooLarge(maxBytes: number): RequestError {
  return new RequestError(
    413,
    `the body is too large; the limit is ${maxBytes / 2 ** 20} MB (MAX_UPLOAD_MB): send less per request`,
  )
}
