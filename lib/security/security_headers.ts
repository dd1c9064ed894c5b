/** Security headers (helmet) for pages and the files they load; responses to POST are for programs. */
import type { RequestHandler } from 'express'
import helmet from 'helmet'

/** Pages load nothing from other origins and are not framed. */
const secure = helmet({
  contentSecurityPolicy: {
    useDefaults: false,
    directives: {
      defaultSrc: ["'self'"],
      imgSrc: ["'self'", 'blob:', 'data:'],
      baseUri: ["'none'"],
      formAction: ["'self'"],
      frameAncestors: ["'none'"],
    },
  },
  // only the proxy in front knows whether there is TLS
  strictTransportSecurity: false,
})

export const securityHeaders: RequestHandler = (req, res, next) =>
  req.method === 'GET' ? secure(req, res, next) : next()
