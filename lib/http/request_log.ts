/** Follows each request from its head to the end of its answer: an id, a time limit, a line in the log, the metrics. */
import { randomUUID } from 'node:crypto'
import type { IncomingMessage, RequestListener } from 'node:http'
import type { Request, RequestHandler, Response } from 'express'
import { RequestError } from '../inference/errors.ts'
import type { Log } from '../process/log.ts'
import type { Settings } from '../process/settings.ts'
import type { Admission } from './admission.ts'
import { PROBES } from './bearer_auth.ts'
import { Interest, type Trace } from './context.ts'
import { releaseChunk } from './memory.ts'
import type { Metrics } from './metrics.ts'
import type { SendError } from './problem.ts'

/** What the log and the metrics call a request whose client went away before the answer, as nginx does. */
const CLIENT_GONE = 499

/** Samples that still wait, of a client that has gone or of a request that another sample has spoilt, need not be run. */
const OVER = new RequestError(CLIENT_GONE, 'nobody waits for the answer')

/** Asked every few seconds by machines: logged only on level debug. */
const QUIET = [...PROBES, '/metrics']

/** So much of a body that nobody reads Node holds on every version, and drops it with the answer. */
const UNREAD_BYTES = 2 ** 13

/** What may stand in a log and in a header. */
const SAFE_ID = /^[\w.:/+=@-]{1,128}$/

export function observe(log: Log, metrics: Metrics, { REQUEST_TIMEOUT_MS }: Settings): RequestHandler {
  return (req, res, next) => {
    const begun = performance.now()
    const { method, path } = req
    const id = requestId(req)
    const interest = new Interest()
    const trace: Trace = { id, interest }
    res.locals.trace = trace
    res.set('x-request-id', id)
    const isProbe = QUIET.includes(path)
    if (!isProbe) metrics.inFlight.inc()

    const timer = setTimeout(() => {
      // a client that does not read its answer holds what it needs as much as one that does not send its request
      if (res.headersSent) res.destroy()
      else interest.lose(timeUp(req, res, REQUEST_TIMEOUT_MS))
    }, REQUEST_TIMEOUT_MS)
    res.once('close', () => {
      clearTimeout(timer)
      const isGone = !res.writableFinished
      interest.lose(OVER)
      trace.place?.leave()
      const status = isGone ? CLIENT_GONE : res.statusCode
      const ms = performance.now() - begun
      const route = routeOf(req)
      if (!isProbe) metrics.inFlight.dec()
      metrics.answered(route, method, status, ms)
      const { bytes, preprocessMs, queueMs, inferenceMs, batchSize, label } = trace
      const line = {
        requestId: id,
        method,
        route,
        path,
        status,
        ms: rounded(ms),
        bytes,
        preprocessMs: rounded(preprocessMs),
        queueMs: rounded(queueMs),
        inferenceMs: rounded(inferenceMs),
        batchSize,
        label,
      }
      if (isProbe) log.debug(line, 'request')
      else log.info(line, 'request')
    })
    next()
  }
}

/** The client's own, if it can be shown again, or a new one. */
function requestId({ headers }: IncomingMessage): string {
  const given = String(headers['x-request-id'] ?? '')
  return SAFE_ID.test(given) ? given : randomUUID()
}

/**
 * In front of the app: what would find no place in the queue is refused before Express looks at it. A server with five
 * times too much to do does little else.
 */
export function refuseWhenFull(
  app: RequestListener,
  admission: Admission,
  send: SendError,
  log: Log,
  metrics: Metrics,
): RequestListener {
  return (req, res) => {
    const refusal = req.method === 'POST' || req.method === 'PUT' ? admission.refusal() : undefined
    if (!refusal) return app(req, res)
    const begun = performance.now()
    const { method = '', url = '' } = req
    const { status, message } = refusal
    const path = url.split('?', 1)[0]
    const id = requestId(req)
    const bytes = Number(req.headers['content-length'] ?? Number.POSITIVE_INFINITY)
    // read, so that the answer can be sent, and not kept
    if (bytes > UNREAD_BYTES) req.on('data', releaseChunk)
    send({ status, message, headers: { ...refusal.headers, 'x-request-id': id } }, path, res)
    metrics.answered('none', method, status)
    log.info({ requestId: id, method, path, status, ms: rounded(performance.now() - begun) }, 'request')
  }
}

/** Milliseconds to the microsecond: more digits are noise. */
function rounded(ms: number | undefined): number | undefined {
  return ms === undefined ? undefined : Math.round(ms * 1000) / 1000
}

/** 408 while the body is still on its way, 504 afterwards. */
function timeUp(req: Request, res: Response, ms: number): RequestError {
  if (req.complete) {
    return new RequestError(
      504,
      `there was no answer within the ${ms} ms of REQUEST_TIMEOUT_MS: try again later`,
    )
  }
  res.set('connection', 'close') // what is still to come is not waited for
  return new RequestError(
    408,
    `the body was not complete within the ${ms} ms of REQUEST_TIMEOUT_MS: send it faster`,
  )
}

/** The route's pattern, of which there are few, and not the path, of which there can be any number. */
function routeOf({ route }: Request): string {
  const path: unknown = route?.path
  return path === undefined ? 'none' : String(Array.isArray(path) ? path[0] : path)
}
