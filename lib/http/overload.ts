/** Refuses requests when the queue is full, in front of Express: an overloaded server does little else. */
import type { RequestListener } from 'node:http'
import type { Logger } from 'pino'
import type { Middleware } from '../security/cross_origin.ts'
import { releaseChunk } from '../workers/memory.ts'
import type { Admission } from './admission.ts'
import { requestId } from './context.ts'
import type { SendError } from './error_response.ts'
import type { Metrics } from './metrics.ts'
import { roundMs } from './request_log.ts'

/** Node itself buffers an unread body of this size, and drops it with the response. */
const UNREAD_BYTES = 2 ** 13

export function refuseWhenFull(
  app: RequestListener,
  cors: Middleware,
  admission: Admission,
  sendError: SendError,
  log: Logger,
  metrics: Metrics,
): RequestListener {
  return (req, res) => {
    const { method = '', url = '', headers } = req
    const overload = method === 'POST' || method === 'PUT' ? admission.overloadError() : undefined
    if (!overload) return app(req, res)
    const startedAt = performance.now()
    const [path] = url.split('?', 1)
    const id = requestId(req)
    // a larger body has to be read, so that the response can be sent, but is not kept
    if (Number(headers['content-length'] ?? Number.POSITIVE_INFINITY) > UNREAD_BYTES)
      req.on('data', releaseChunk)
    res.setHeader('x-request-id', id)
    cors(req, res, () => sendError(overload, path, res))
    metrics.countRequest('none', method, overload.status)
    metrics.countRejected(overload.status)
    const ms = roundMs(performance.now() - startedAt)
    log.info({ requestId: id, method, path, status: overload.status, ms }, 'request')
  }
}
