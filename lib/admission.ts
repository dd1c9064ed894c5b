/** Who is let in: a request that could not be answered in time is told so before its body is read. */
import type { Request, Response } from 'express'
import { checkQueue } from './batcher.ts'
import { checkLength } from './body.ts'
import { maxUploadBytes, type Settings } from './config.ts'
import { RequestError } from './errors.ts'
import { sendContinue } from './http_server.ts'
import type { Metrics } from './metrics.ts'
import { type Trace, traceOf, whileWanted } from './trace.ts'

/** Bodies of this many times the largest may be in memory together. */
const BODIES = 16

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

  /** Why no sample would find a place; undefined if one would. */
  refusal(): RequestError | undefined {
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
   * @param work given up when the client goes away or the time is up; it counts what it keeps of the body by the
   * trace's `take`
   * @throws RequestError 503 when the queue is full, 413 when the body is announced as too large, 408 or 504 when the time is up, and what `work`
   * throws
   */
  async attend<T>(req: Request, res: Response, work: () => Promise<T>): Promise<T> {
    this.check(1)
    checkLength(req, this.#maxBytes / BODIES)
    sendContinue(req, res)
    const trace = traceOf(res)
    this.#countBytes(trace)
    return whileWanted(trace.interest, work())
  }

  /** From now on, until the request is over. */
  #countBytes(trace: Trace): void {
    trace.bytes = 0
    trace.take = (bytes) => {
      if (trace.interest.lost) throw trace.interest.lost
      if (this.#bytes + bytes > this.#maxBytes) throw this.#tooMuch()
      trace.bytes! += bytes
      this.#bytes += bytes
      this.#metrics.bytesInFlight.inc(bytes)
    }
    trace.release = () => {
      this.#bytes -= trace.bytes!
      this.#metrics.bytesInFlight.dec(trace.bytes!)
      trace.take = () => {
        throw new RequestError(400, 'the answer was given before the body was complete')
      }
    }
  }

  #tooMuch(): RequestError {
    const detail = `bodies of ${this.#bytes} bytes are being worked on, and ${this.#maxBytes} are the most: try again later`
    return new RequestError(503, detail, { 'retry-after': '1' })
  }
}
