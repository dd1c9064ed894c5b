/** The page at `/`: draw a digit or drop a photo, and see the prediction. */
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { AddRoute, Handler } from './routes.ts'
import { staticFile } from './static_file.ts'

const PUBLIC = fileURLToPath(new URL('../../public/', import.meta.url))

/** Loaded by the page. */
const FILES = ['page.css', 'page.mjs', 'drawing.mjs', 'server.mjs']

/** Open without a token: the page asks for it when one is required. */
export const PAGE_PATHS = ['/', ...FILES.map((file) => `/${file}`)]

export function addPage(route: AddRoute): void {
  const sendPage = staticFile(join(PUBLIC, 'index.html'))
  const page: Handler = (ctx) => {
    const { originalUrl, baseUrl } = ctx.req
    ctx.res.vary('accept')
    // KServe's V1 clients ask here whether the server is alive, and accept anything; browsers ask for HTML
    if (ctx.req.accepts(['json', 'html']) === 'json') return ctx.res.json({ status: 'alive' })
    // mounted at /digits, the page's own links need /digits/
    const isBare = !originalUrl.split('?', 1)[0].endsWith('/')
    return isBare ? ctx.res.redirect(308, `${baseUrl}/`) : sendPage(ctx)
  }
  route('get /', page, { summary: 'A page to draw on or drop images on', response: 'page', isOpen: true })
  for (const file of FILES) route(`get /${file}`, staticFile(join(PUBLIC, file)))
}
