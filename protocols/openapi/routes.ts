/** `/openapi.json`, and `/docs`: Swagger UI from its package, so that nothing is loaded from another origin. */
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { staticFile } from '../../lib/http/static_file.ts'
import type { Service } from '../service.ts'

const PUBLIC = fileURLToPath(new URL('../../public', import.meta.url))

/** Swagger UI sets inline styles, and draws its icons from data: URLs. */
const POLICY =
  "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"

export function addOpenApi(service: Service): void {
  const route = service.routes.of({ name: 'Documentation', description: 'This document.', error: 'Problem' })
  let document: Promise<object> | undefined

  route(
    'get /openapi.json',
    async ({ res }) => {
      // loaded on the first request: the server starts without it
      document ??= import('./document.ts')
        .then(({ createDocument }) => createDocument(service))
        .catch((error) => {
          document = undefined // retry on the next request
          throw error
        })
      res.json(await document)
    },
    { summary: 'This document', response: 'object' },
  )

  const sendPage = staticFile(join(PUBLIC, 'docs.html'))
  route(
    'get /docs',
    (ctx) => {
      ctx.res.set('content-security-policy', POLICY)
      return sendPage(ctx)
    },
    { summary: 'This document as a page', response: 'html' },
  )
  const swaggerUi = createRequire(import.meta.url).resolve('swagger-ui-dist/package.json')
  const files = [
    join(PUBLIC, 'docs.mjs'),
    join(swaggerUi, '../swagger-ui.css'),
    join(swaggerUi, '../swagger-ui-bundle.js'),
  ]
  for (const path of files) route(`get /docs/${path.split(/[/\\]/).at(-1)}`, staticFile(path))
}
