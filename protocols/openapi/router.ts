/** `/openapi.json`, and `/docs`: Swagger UI from its package, without another origin. */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type RequestHandler, Router } from 'express'
import { allowOnly } from '../../lib/http/problem.ts'
import type { Service } from '../../lib/http/service.ts'
import { staticFile } from '../../lib/http/static_file.ts'
import { RequestError } from '../../lib/inference/errors.ts'

const PUBLIC = fileURLToPath(new URL('../../public', import.meta.url))

/** Swagger UI sets styles of elements, and draws its icons from data: URLs. */
const POLICY =
  "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"

export function openApi(service: Service): Router {
  const router = Router()
  const swaggerUi = createRequire(import.meta.url).resolve('swagger-ui-dist/package.json')
  const sendPage = staticFile(join(PUBLIC, 'docs.html'))
  const files: Record<string, RequestHandler> = {
    'docs.mjs': staticFile(join(PUBLIC, 'docs.mjs')),
    'swagger-ui.css': staticFile(join(swaggerUi, '../swagger-ui.css')),
    'swagger-ui-bundle.js': staticFile(join(swaggerUi, '../swagger-ui-bundle.js')),
  }
  let document: Promise<object> | undefined

  router
    .route('/openapi.json')
    .get(async (_req, res) => {
      // loaded when it is asked for: the server starts without it
      document ??= import('./document.ts')
        .then(({ describeApi }) => describeApi(service))
        .catch((error) => {
          document = undefined // the next one may have more luck
          throw error
        })
      res.json(await document)
    })
    .all(allowOnly('GET'))
  router
    .route('/docs')
    .get((req, res, next) => sendPage(req, res.set('content-security-policy', POLICY), next))
    .all(allowOnly('GET'))
  router
    .route('/docs/:file')
    .get((req, res, next) => {
      const { file } = req.params
      if (!Object.hasOwn(files, file)) throw new RequestError(404, `there is no ${file} in /docs`)
      return files[file](req, res, next)
    })
    .all(allowOnly('GET'))
  return router
}
