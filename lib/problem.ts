/** Errors as answers: RFC 9457 problem details, in one place. */
import { STATUS_CODES } from 'node:http'
import type { NextFunction, Request, RequestHandler, Response } from 'express'
import { messageOf, RequestError } from './errors.ts'
import type { Log } from './log.ts'
import { traceOf } from './trace.ts'

/** The last handler of a route: 405 for every method that the ones before it did not take. */
export function allowOnly(...methods: string[]): RequestHandler {
  const allow = [...methods, 'OPTIONS'].join(', ')
  return (req, res) => {
    if (req.method === 'OPTIONS') return void res.set('allow', allow).status(204).end()
    throw new RequestError(405, `${req.method} is not for ${req.path}: send ${methods.join(' or ')}`, {
      allow,
    })
  }
}

/** The handler behind all routes. */
export const notFound: RequestHandler = (req) => {
  throw new RequestError(404, `there is no ${req.path} here: images and tensors go to POST /predict`)
}

/**
 * Express's error handler. Below 500 the message is the client's, above it is for the log only, and the answer
 * carries an id to find it by.
 */
export function problems(log: Log) {
  return (error: unknown, req: Request, res: Response, next: NextFunction) => {
    if (res.headersSent) return next(error)
    const known = toRequestError(error)
    if (known) return sendProblem(res, known.status, known.message, known.headers)
    const { id: requestId } = traceOf(res)
    log.error({ err: error, requestId, method: req.method, path: req.path }, 'request failed')
    sendProblem(
      res,
      500,
      `an error of this server, not of the request; its log tells more under ${requestId}`,
    )
  }
}

/** Our own errors, and those that Express marks as the client's. */
export function toRequestError(error: unknown): RequestError | undefined {
  if (error instanceof RequestError) return error
  const status = (error as { status?: unknown })?.status
  if (typeof status === 'number' && status >= 400 && status < 500)
    return new RequestError(status, messageOf(error))
  return undefined
}

function sendProblem(
  res: Response,
  status: number,
  detail: string,
  headers: Record<string, string> = {},
): void {
  const problem = { type: 'about:blank', title: STATUS_CODES[status], status, detail }
  res.status(status).set(headers).type('application/problem+json').send(JSON.stringify(problem))
}
