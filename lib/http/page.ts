/** The page at `/`: draw a digit or drop a photo, and see the answer. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Router } from 'express'
import { allowOnly } from './problem.ts'
import { staticFile } from './static_file.ts'

const PUBLIC = fileURLToPath(new URL('../../public/', import.meta.url))

const FILES: Record<string, string> = {
  '/': 'index.html',
  '/page.css': 'page.css',
  '/page.mjs': 'page.mjs',
  '/drawing.mjs': 'drawing.mjs',
  '/server.mjs': 'server.mjs',
}

/** Open to all: the page asks for a token where one is wanted. */
export const PAGE_PATHS = Object.keys(FILES)

export function page(): Router {
  const router = Router()
  for (const [path, file] of Object.entries(FILES)) {
    const sendFile = staticFile(join(PUBLIC, file))
    router
      .route(path)
      .get((req, res, next) => {
        // mounted at /digits, what it loads stands behind /digits/
        const isBare = path === '/' && !req.originalUrl.split('?', 1)[0].endsWith('/')
        if (isBare) return res.redirect(308, `${req.baseUrl}/`)
        return sendFile(req, res, next)
      })
      .all(allowOnly('GET'))
  }
  return router
}
