/** Errors as responses, all in one place: RFC 9457 problem details, or the shape of the path's protocol. */
import { type ServerResponse, STATUS_CODES } from 'node:http'
import type { ErrorRequestHandler, RequestHandler } from 'express'
import type { Logger } from 'pino'
import { messageOf, RequestError } from '../inference/errors.ts'

/** The body of an error response. */
export type ErrorShape = (error: RequestError) => object

export type SendError = (error: RequestError, path: string, res: ServerResponse) => void

/** Our own shape (RFC 9457). */
const problemDetails: ErrorShape = ({ status, message }) => ({
  type: 'about:blank',
  title: STATUS_CODES[status],
  status,
  detail: message,
})

/** @param shapes of other protocols, by the first segment of their paths, such as `/v2` */
export function errorSender(shapes: Record<string, ErrorShape>): SendError {
  const prefixes = Object.entries(shapes)
  return (error, path, res) => {
    if (res.destroyed) return // the client has disconnected
    const shape = prefixes.find(([prefix]) => path === prefix || path.startsWith(`${prefix}/`))?.[1]
    const type = shape ? 'application/json' : 'application/problem+json'
    const body = JSON.stringify((shape ?? problemDetails)(error))
    // with its headers first, this object would be slow in Node 20: a sixth fewer refusals per second
    const headers = { 'content-type': type, 'content-length': Buffer.byteLength(body), ...error.headers }
    // without Express: this also answers requests that never reach it
    res.writeHead(error.status, headers).end(body)
  }
}

/** The handler after all routes. */
export const notFound: RequestHandler = (req) => {
  throw new RequestError(404, `there is no ${req.path} here: send images and tensors to POST /predict`)
}

/** Express's error handler. Messages of client errors are sent; other errors are logged, and the response has their id. */
export function errorHandler(log: Logger, send: SendError): ErrorRequestHandler {
  return (error, req, res, next) => {
    if (res.headersSent) return next(error)
    const clientError = toRequestError(error)
    if (clientError) return send(clientError, req.path, res)
    const requestId = req.context.id
    log.error({ err: error, requestId, method: req.method, path: req.path }, 'request failed')
    const detail = `the server failed, not the request: its log has the cause under ${requestId}`
    send(new RequestError(500, detail), req.path, res)
  }
}

/** Our own errors, and those that Express and its parsers mark as the client's. */
function toRequestError(error: unknown): RequestError | undefined {
  if (error instanceof RequestError) return error
  const status = (error as { status?: unknown })?.status
  if (typeof status !== 'number' || status < 400 || status >= 500) return undefined
  return new RequestError(status, messageOf(error))
}
