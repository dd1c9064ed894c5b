/** Who is let in: a request that could not be answered in time is told so before its body is read. */
import type { Request, Response } from 'express'
import { checkQueue } from './batcher.ts'
import { maxUploadBytes, type Settings } from './config.ts'
import { RequestError } from './errors.ts'
import type { Metrics } from './metrics.ts'
import { traceOf, untilAborted } from './trace.ts'

/** Bodies of this many times the largest may be in memory together. */
const BODIES = 16

const NEVER = new Promise<never>(() => {})

interface Queue {
  /** samples that wait */
  readonly waiting: number
  /** whole seconds until they have been done */
  readonly secondsLeft: number
}

export class Admission {
  readonly #queues: Queue[]
  readonly #maxQueue: number
  readonly #maxBytes: number
  readonly #metrics: Metrics
  #bytes = 0

  /** @param queues that a sample passes, one after the other */
  constructor(queues: Queue[], settings: Settings, metrics: Metrics) {
    this.#queues = queues
    this.#maxQueue = settings.MAX_QUEUE
    this.#maxBytes = BODIES * maxUploadBytes(settings)
    this.#metrics = metrics
  }

  /**
   * The error of a request that need not be looked at any further: its samples would find no place. Cheap, since it is
   * what a server that has five times too much to do does most of the time.
   */
  refusal({ method }: Request): RequestError | undefined {
    if (method !== 'POST' && method !== 'PUT') return undefined
    try {
      this.check(1)
    } catch (error) {
      return error as RequestError
    }
  }

  /** @throws RequestError 413 more samples than the queue holds, 503 with Retry-After when it is full */
  check(samples: number): void {
    const waiting = this.#queues.reduce((sum, queue) => sum + queue.waiting, 0)
    const seconds = this.#queues.reduce((sum, queue) => sum + queue.secondsLeft, 0)
    checkQueue(samples, waiting, this.#maxQueue, seconds)
  }

  /**
   * Do what a request asks for.
   *
   * @param work given up when the client goes away or the time is up
   * @throws RequestError 503 before the body is read, when the memory for bodies is full; 408 or 504 when the time is
   * up; and what `work` throws
   */
  async attend<T>(req: Request, res: Response, work: () => Promise<T>): Promise<T> {
    const tooMuch = this.#countBytes(req, res)
    return untilAborted(traceOf(res).signal, Promise.race([tooMuch, work()]))
  }

  /** Count a body by its announced length, or else as it comes, until its request is over. */
  #countBytes(req: Request, res: Response): Promise<never> {
    const trace = traceOf(res)
    trace.bytes = 0
    const take = (bytes: number) => {
      trace.bytes! += bytes
      this.#bytes += bytes
      this.#metrics.bytesInFlight.set(this.#bytes)
    }
    res.once('close', () => {
      this.#bytes -= trace.bytes!
      this.#metrics.bytesInFlight.set(this.#bytes)
    })
    const announced = req.headers['content-length']
    if (announced !== undefined) {
      // of a body that is too large, nothing is read
      const length = Math.min(Number(announced), this.#maxBytes / BODIES)
      if (this.#bytes + length > this.#maxBytes) throw this.#tooMuch()
      take(length)
      return NEVER
    }
    return new Promise((_, reject) => {
      req.on('data', (chunk: Buffer) => {
        take(chunk.length)
        if (this.#bytes > this.#maxBytes) reject(this.#tooMuch())
      })
    })
  }

  #tooMuch(): RequestError {
    const detail = `bodies of ${this.#bytes} bytes are being worked on, and ${this.#maxBytes} are the most: try again later`
    return new RequestError(503, detail, { 'retry-after': '1' })
  }
}
