/** CORS: web pages of the origins in CORS_ORIGINS may call the server and read its responses. */
import type { RequestListener } from 'node:http'
import cors from 'cors'

/** Headers that a page may read besides the harmless ones. */
const EXPOSED = [
  'x-request-id',
  'server-timing',
  'x-dims',
  'x-dtype',
  'inference-header-content-length',
  'retry-after',
]

/** Browsers may cache a preflight for this long, in seconds. */
const MAX_AGE_S = 600

/** A middleware that does not depend on Express. */
export type Middleware = (...args: [...Parameters<RequestListener>, next: (error?: unknown) => void]) => void

/**
 * Sets the headers of CORS, and answers preflights, which carry no token. Requests without an Origin, as curl and scripts
 * send them, get the same response as before.
 *
 * @param origins such as `https://example.com` (CORS_ORIGINS); `*` stands for all, none changes nothing
 */
export function crossOrigin(origins: readonly string[]): Middleware {
  if (origins.length === 0) return (_req, _res, next) => next()
  const isAny = origins.includes('*')
  const allow = cors({ origin: isAny ? '*' : [...origins], exposedHeaders: EXPOSED, maxAge: MAX_AGE_S })
  return (req, res, next) => {
    // not a preflight: the route answers with its methods
    if (req.method === 'OPTIONS' && !req.headers['access-control-request-method']) return next()
    allow(req, res, next)
  }
}
