/** The page at `/`: draw a digit or drop a photo, and see the prediction. Its samples are the model folder's. */
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Request } from 'express'
import { RequestError } from '../inference/errors.ts'
import type { ModelInfo } from '../model/model_info.ts'
import type { AddRoute, Handler } from './routes.ts'
import { staticFile } from './static_file.ts'

const PUBLIC = fileURLToPath(new URL('../../public/', import.meta.url))

/** Loaded by the page. */
const MODULES = [
  'page',
  'answer',
  'camera',
  'code',
  'dom',
  'drawing',
  'gallery',
  'predictor',
  'server',
  'sources',
  'texts',
]
const FILES = ['page.css', ...MODULES.map((name) => `${name}.mjs`)]

/** Open without a token: the page asks for it when one is required. */
export const PAGE_PATHS = ['/', ...FILES.map((file) => `/${file}`)]

export function addPage(route: AddRoute): void {
  const sendPage = staticFile(join(PUBLIC, 'index.html'))
  const page: Handler = (ctx) => {
    const { originalUrl, baseUrl } = ctx.req
    ctx.res.vary('accept, user-agent')
    if (asksForStatus(ctx.req)) return ctx.res.json({ status: 'alive' })
    // mounted at /digits, the page's own links need /digits/
    const isBare = !originalUrl.split('?', 1)[0].endsWith('/')
    return isBare ? ctx.res.redirect(308, `${baseUrl}/`) : sendPage(ctx)
  }
  route('get /', page, { summary: 'A page to draw on or drop images on', response: 'page', isOpen: true })
  for (const file of FILES) route(`get /${file}`, staticFile(join(PUBLIC, file)))
}

/** KServe's V1 client asks here whether the server is alive. It accepts anything, but its HTTP library names itself. */
function asksForStatus(req: Request): boolean {
  return (
    req.accepts(['html', 'json']) === 'json' || req.get('user-agent')?.startsWith('python-httpx') === true
  )
}

/** The example images of the model folder. */
export function addSamples({ name, samplePath, samplePaths }: ModelInfo, route: AddRoute): void {
  const noSample = (): never => {
    throw new RequestError(404, `the folder of ${name} has no such sample image`)
  }
  const doc = { summary: 'An example image', response: 'image' } as const
  if (samplePath) route('get /model/sample', staticFile(samplePath), doc)
  else route('get /model/sample', noSample, { ...doc, errors: [404] })

  const samples = new Map(samplePaths.map((path) => [basename(path), staticFile(path)]))
  const send: Handler = (ctx) => (samples.get(String(ctx.req.params.sample)) ?? noSample)(ctx)
  if (samples.size > 0) route('get /model/samples/:sample', send, doc)
}
