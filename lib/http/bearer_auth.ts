/** With API_TOKEN set, everything but the probes and the page asks for `Authorization: Bearer`. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { RequestHandler } from 'express'
import { RequestError } from '../inference/errors.ts'

/** What an orchestrator asks, every few seconds and without a token. */
export const PROBES = ['/livez', '/readyz', '/ping', '/v2/health/live', '/v2/health/ready']

/** All that an open path answers. */
const OPEN_METHODS = ['GET', 'HEAD', 'OPTIONS']

/**
 * @param token the secret; '' = nobody is asked
 * @param openPaths more paths that can be read without
 */
export function requireToken(token: string, openPaths: string[] = []): RequestHandler {
  const open = new Set([...PROBES, ...openPaths])
  const digest = (text: string) => createHash('sha256').update(text).digest()
  const wanted = digest(token)

  return (req, _res, next) => {
    if (token === '' || (open.has(req.path) && OPEN_METHODS.includes(req.method))) return next()
    const [scheme, given] = (req.get('authorization') ?? '').split(' ', 2)
    // digests have one length, so that the comparison tells nothing of the token's
    if (scheme.toLowerCase() === 'bearer' && timingSafeEqual(digest(given ?? ''), wanted)) return next()
    throw new RequestError(401, 'this server wants the header Authorization: Bearer with its API_TOKEN', {
      'www-authenticate': 'Bearer realm="onnxpress"',
    })
  }
}
