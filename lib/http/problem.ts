/** Errors as answers: RFC 9457 problem details, in one place. */
import { type ServerResponse, STATUS_CODES } from 'node:http'
import type { NextFunction, Request, RequestHandler, Response } from 'express'
import { messageOf, type Problem, RequestError } from '../inference/errors.ts'
import type { Log } from '../process/log.ts'
import { traceOf } from './context.ts'

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

/** The body of an error's answer, by the protocol that the path belongs to. */
export type ErrorShape = (problem: Problem) => object

/** Ours is RFC 9457. */
const problemDetails: ErrorShape = ({ status, message }) => ({
  type: 'about:blank',
  title: STATUS_CODES[status],
  status,
  detail: message,
})

export type SendError = (problem: Problem, path: string, res: ServerResponse) => void

/** @param shapes of other protocols, by the paths that they begin at */
export function errorSender(shapes: Record<string, ErrorShape>): SendError {
  const prefixes = Object.entries(shapes)
  return (problem, path, res) => {
    const isTheirs = ([prefix]: [string, ErrorShape]) => path === prefix || path.startsWith(`${prefix}/`)
    const [, shape] = prefixes.find(isTheirs) ?? []
    const type = shape ? 'application/json' : 'application/problem+json'
    const body = JSON.stringify((shape ?? problemDetails)(problem))
    // without Express's help: this is also for requests that it never sees
    const headers = { ...problem.headers, 'content-type': type, 'content-length': Buffer.byteLength(body) }
    res.writeHead(problem.status, headers).end(body)
  }
}

/**
 * Express's error handler. Below 500 the message is the client's, above it is for the log only, and the answer
 * carries an id to find it by.
 */
export function problems(log: Log, send: SendError) {
  return (error: unknown, req: Request, res: Response, next: NextFunction) => {
    if (res.headersSent) return next(error)
    const known = toRequestError(error)
    if (known) return send(known, req.path, res)
    const { id: requestId } = traceOf(res)
    log.error({ err: error, requestId, method: req.method, path: req.path }, 'request failed')
    const detail = `an error of this server, not of the request; its log tells more under ${requestId}`
    send(new RequestError(500, detail), req.path, res)
  }
}

/** Our own errors, and those that Express marks as the client's. */
function toRequestError(error: unknown): RequestError | undefined {
  if (error instanceof RequestError) return error
  const status = (error as { status?: unknown })?.status
  if (typeof status === 'number' && status >= 400 && status < 500)
    return new RequestError(status, messageOf(error))
  return undefined
}
