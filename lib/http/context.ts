/** A request's context: the one argument that carries its id, cancellation, timings and reservation. */
import { randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { Request, Response } from 'express'
import { release } from '../../preprocess/index.ts'
import { RequestError } from '../inference/errors.ts'
import { abortable, Signal } from '../inference/signal.ts'
import { type Tensor, toBytes } from '../inference/tensor.ts'
import { serverTiming, type Timings } from '../inference/timings.ts'
import { type Result, toText } from '../model/predictions.ts'

declare global {
  namespace Express {
    interface Request {
      /** set by the app's first middleware */
      context: RequestContext
    }
  }
}

/** The signal's reason once the request is over. */
const OVER = new RequestError(499, 'the request is over')

/** Safe to repeat in a log line and in a header. */
const SAFE_ID = /^[\w.:/+=@-]{1,128}$/

/** The client's x-request-id if it is safe to repeat, otherwise a new one. */
export function requestId({ headers }: IncomingMessage): string {
  const given = String(headers['x-request-id'] ?? '')
  return SAFE_ID.test(given) ? given : randomUUID()
}

export class RequestContext {
  readonly req: Request
  readonly res: Response
  readonly id: string
  readonly startedAt = performance.now()
  /** aborted when the client has disconnected, the time is up, or the response has been sent */
  readonly signal = new Signal()
  readonly timings: Timings = {}
  /** bytes of the body that were kept in memory */
  bytes: number | undefined
  /** label of the first prediction, for the log */
  label: string | undefined

  /** @param timeoutMs from now to the end of the response */
  constructor(req: Request, res: Response, timeoutMs: number) {
    this.req = req
    this.res = res
    this.id = requestId(req)
    res.setHeader('x-request-id', this.id)
    const timer = setTimeout(() => {
      // in another app, Node does not close a pipelined response whose connection is gone
      if (req.socket.destroyed) res.destroy().emit('close')
      // a client that does not read its response is cut off
      else if (res.headersSent) res.destroy()
      else this.signal.abort(timeoutError(req, res, timeoutMs))
    }, timeoutMs)
    res.once('close', () => {
      clearTimeout(timer)
      this.signal.abort(OVER)
    })
  }

  /** Wait for work, or for the signal to be aborted. */
  wait<T>(work: Promise<T>): Promise<T> {
    return abortable(this.signal, work)
  }

  /** Respond with predictions: as JSON, or as text if the client prefers it; one input gives one object. */
  reply(results: Result[]): void {
    if (this.prefersText()) {
      this.replyText(results)
    } else {
      this.recordResults(results)
      this.res.json(results.length === 1 ? results[0] : results)
    }
  }

  /** Whether the client wants text rather than JSON. */
  prefersText(): boolean {
    return this.req.accepts(['json', 'text/plain']) === 'text/plain'
  }

  /** Respond with the labels alone, one line per input. */
  replyText(results: Result[]): void {
    this.recordResults(results)
    this.res.type('text/plain').send(toText(results))
  }

  /**
   * Respond with the tensors of images as one: little-endian bytes, with dims and dtype in the headers.
   *
   * @param tensors each [1, channels, height, width]; their memory is freed
   * @throws RequestError 400 when their sizes differ
   */
  replyTensors(tensors: Tensor[]): void {
    const [{ dtype, dims }] = tensors
    if (tensors.some((tensor) => tensor.dims.join() !== dims.join())) {
      throw new RequestError(400, 'the images become tensors of different sizes: send them one by one')
    }
    this.res.set({ 'x-dims': [tensors.length, ...dims.slice(1)].join(','), 'x-dtype': dtype })
    const body = Buffer.concat(tensors.map(({ data }) => toBytes(data)))
    for (const { data } of tensors) release(data.buffer as ArrayBuffer)
    this.setServerTiming()
    this.res.type('application/octet-stream').send(body)
  }

  /** Whether the client wants a picture rather than a tensor. */
  prefersPng(): boolean {
    return this.req.accepts(['application/octet-stream', 'image/png']) === 'image/png'
  }

  replyPng(file: Uint8Array): void {
    this.setServerTiming()
    this.res.type('image/png').send(Buffer.from(file))
  }

  /** Keep the first label for the log, and set the Server-Timing header. */
  recordResults(results: Result[]): void {
    this.label = toText(results.slice(0, 1))
    this.setServerTiming()
  }

  setServerTiming(): void {
    this.res.setHeader('server-timing', serverTiming(this.timings))
  }
}

/** 408 while the body is still arriving, 504 afterwards. */
function timeoutError(req: Request, res: Response, ms: number): RequestError {
  if (req.complete) {
    return new RequestError(504, `no response within the ${ms} ms of REQUEST_TIMEOUT_MS: try again later`)
  }
  res.setHeader('connection', 'close') // do not wait for the rest of the body
  return new RequestError(
    408,
    `the body was not complete within the ${ms} ms of REQUEST_TIMEOUT_MS: send it faster`,
  )
}
