/** Creates each request's context; logs and counts the request when it is over. */
import type { RequestHandler } from 'express'
import type { Logger } from 'pino'
import { RequestContext } from './context.ts'
import type { Metrics } from './metrics.ts'

/** The status of a request whose client disconnected before the response, in the log and the metrics; nginx uses the same. */
const CLIENT_GONE = 499

/**
 * @param timeoutMs for a whole request (REQUEST_TIMEOUT_MS)
 * @param probes paths that machines request every few seconds: like /metrics, they are logged only at level debug
 */
export function requestLog(
  log: Logger,
  metrics: Metrics,
  timeoutMs: number,
  probes: readonly string[],
): RequestHandler {
  const quietPaths = new Set([...probes, '/metrics'])
  return (req, res, next) => {
    // in another app, the client may have disconnected before this one's turn
    if (res.destroyed) return
    const ctx = new RequestContext(req, res, timeoutMs)
    req.context = ctx
    const { method, path } = req
    const isQuiet = quietPaths.has(path)
    if (!isQuiet) metrics.inFlight.inc()
    res.once('close', () => {
      const status = res.writableFinished ? res.statusCode : CLIENT_GONE
      const ms = performance.now() - ctx.startedAt
      const route = String(req.route?.path ?? 'none') // a pattern: paths are unlimited in number
      if (!isQuiet) metrics.inFlight.dec()
      metrics.countRequest(route, method, status, ms)
      // probes, which use GET, ask for no prediction
      if (method === 'POST' || method === 'PUT') metrics.countRejected(status)
      const { id, bytes, label, timings } = ctx
      const { preprocessMs, queueMs, inferenceMs, batchSize } = timings
      const line = {
        requestId: id,
        traceId: traceId(req.headers.traceparent),
        method,
        route,
        path,
        status,
        ms: roundMs(ms),
        bytes,
        preprocessMs: roundMs(preprocessMs),
        queueMs: roundMs(queueMs),
        inferenceMs: roundMs(inferenceMs),
        batchSize,
        label,
      }
      if (isQuiet) log.debug(line, 'request')
      else log.info(line, 'request')
    })
    next()
  }
}

/** Milliseconds, rounded to microseconds. */
export function roundMs<T extends number | undefined>(ms: T): T {
  return (ms === undefined ? ms : Math.round(ms * 1000) / 1000) as T
}

/** The trace that a caller names in the header `traceparent` (W3C Trace Context). */
function traceId(traceparent: unknown): string | undefined {
  return /^[\da-f]{2}-([\da-f]{32})-[\da-f]{16}-/.exec(String(traceparent))?.[1]
}
