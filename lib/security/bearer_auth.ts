/** With API_TOKEN, everything except the probes and the page requires `Authorization: Bearer`. */
import { createHash, timingSafeEqual } from 'node:crypto'
import type { RequestHandler } from 'express'
import { RequestError } from '../inference/errors.ts'
import { SAFE_METHODS } from './allowed_hosts.ts'

/** Paths that orchestrators request every few seconds, without a token. */
export const PROBES = ['/livez', '/readyz', '/ping', '/v2/health/live', '/v2/health/ready']

/**
 * @param token the secret; '' = none is required
 * @param openPaths paths that can be read without it
 */
export function bearerAuth(token: string, openPaths: readonly string[]): RequestHandler {
  const open = new Set(openPaths)
  const digest = (text: string) => createHash('sha256').update(text).digest()
  const expected = digest(token)

  return (req, _res, next) => {
    if (token === '' || (open.has(req.path) && SAFE_METHODS.includes(req.method))) return next()
    const [scheme, given = ''] = (req.get('authorization') ?? '').split(' ', 2)
    // digests have equal lengths: the comparison does not reveal the token's
    if (scheme.toLowerCase() === 'bearer' && timingSafeEqual(digest(given), expected)) return next()
    throw new RequestError(
      401,
      'this server requires its API_TOKEN: send the header Authorization: Bearer TOKEN',
      {
        'www-authenticate': 'Bearer realm="onnxpress"',
      },
    )
  }
}
