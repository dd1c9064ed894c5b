/** Who is let in: a request that could not be answered in time is told so before its body is read. */
import type { Request, Response } from 'express'
import { checkSamples } from '../inference/batcher.ts'
import { type Problem, RequestError } from '../inference/errors.ts'
import { checkLength } from '../input/body.ts'
import { maxUploadBytes, type Settings } from '../process/settings.ts'
import { type Place, type Trace, traceOf, whileWanted } from './context.ts'
import { sendContinue } from './http_server.ts'
import { release } from './memory.ts'
import type { Metrics } from './metrics.ts'

/** Bodies of this many times the largest may be in memory together. */
const BODIES = 16

/** So long a request keeps a place for the samples in its body; one that takes longer to send it finds one or does not. */
const ARRIVAL_MS = 1000

interface Queue {
  /** samples that wait */
  readonly waiting: number
  /** whole seconds until they have been done */
  readonly secondsLeft: number
}

export class Admission {
  readonly #queues: Queue[]
  readonly #maxQueue: number
  readonly #batchSize: number
  /** of one body, and of all together */
  readonly #maxBody: number
  readonly #maxBytes: number
  readonly #metrics: Metrics
  #bytes = 0
  /** requests whose bodies are on their way */
  #arriving = 0

  /**
   * @param queues that a sample passes, one after the other
   * @param batchSize most samples that leave the last one at once
   */
  constructor(queues: Queue[], batchSize: number, settings: Settings, metrics: Metrics) {
    this.#queues = queues
    this.#maxQueue = settings.MAX_QUEUE
    this.#batchSize = batchSize
    this.#maxBody = maxUploadBytes(settings)
    this.#maxBytes = BODIES * this.#maxBody
    this.#metrics = metrics
  }

  /**
   * Why one more request would find no place; undefined if it would. Those whose bodies are on their way may find
   * theirs in the batch that is taken meanwhile.
   */
  refusal(): Problem | undefined {
    return this.#overflow(1, Math.max(0, this.#arriving - this.#batchSize))
  }

  /** Why so many samples find no place behind those that wait and those that are arriving. */
  #overflow(samples: number, arriving = 0): Problem | undefined {
    const waiting = this.#queues.reduce((sum, queue) => sum + queue.waiting, arriving)
    if (waiting + samples <= this.#maxQueue) return undefined
    const seconds = this.#queues.reduce((sum, queue) => sum + queue.secondsLeft, 0)
    return {
      status: 503,
      message: `the queue is full: ${waiting} samples wait, MAX_QUEUE is ${this.#maxQueue}: try again later`,
      headers: { 'retry-after': String(seconds) },
    }
  }

  /**
   * Do what a request asks for.
   *
   * @param work given up when the client goes away or the time is up; it counts what it keeps of the body, and
   * asks for room for its samples, by the trace's place
   * @throws RequestError 503 when the queue is full, 413 when the body is announced as too large, 408 or 504 when the
   * time is up, and what `work` throws
   */
  async attend<T>(req: Request, res: Response, work: () => Promise<T>): Promise<T> {
    const refusal = this.refusal()
    if (refusal) throw errorOf(refusal)
    checkLength(req, this.#maxBody)
    sendContinue(req, res)
    const trace = traceOf(res)
    trace.place = this.#placeFor(trace)
    return whileWanted(trace.interest, work())
  }

  #placeFor(trace: Trace): Place {
    let hasLeft = false
    let isArriving = true
    this.#arriving++
    const arrived = () => {
      if (isArriving) this.#arriving--
      isArriving = false
      clearTimeout(timer)
    }
    const timer = setTimeout(arrived, ARRIVAL_MS)
    trace.bytes = 0
    const held: ArrayBuffer[] = []
    return {
      take: (bytes) => {
        // what a refused client goes on sending is not kept
        if (hasLeft) throw new RequestError(400, 'the answer was given before the body was complete')
        if (trace.interest.lost) throw trace.interest.lost
        if (this.#bytes + bytes > this.#maxBytes) throw this.#tooMuch()
        trace.bytes! += bytes
        this.#bytes += bytes
        this.#metrics.bytesInFlight.inc(bytes)
      },
      hold: (memory) => {
        if (hasLeft) release(memory)
        else held.push(memory)
      },
      admit: (samples) => {
        arrived()
        checkSamples(samples, this.#maxQueue)
        const overflow = this.#overflow(samples)
        if (overflow) throw errorOf(overflow)
      },
      leave: () => {
        arrived()
        hasLeft = true
        this.#bytes -= trace.bytes!
        this.#metrics.bytesInFlight.dec(trace.bytes!)
        held.forEach(release)
      },
    }
  }

  #tooMuch(): RequestError {
    const detail = `bodies of ${this.#bytes} bytes are being worked on, and ${this.#maxBytes} are the most: try again later`
    return new RequestError(503, detail, { 'retry-after': '1' })
  }
}

function errorOf({ status, message, headers }: Problem): RequestError {
  return new RequestError(status, message, headers)
}
