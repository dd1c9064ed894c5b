/** The table of routes: a route, its 405 and its line in the OpenAPI document are declared together. */
import type { Express, RequestHandler } from 'express'
import { RequestError } from '../inference/errors.ts'
import type { RequestContext } from './context.ts'

/** Responds to a request. */
export type Handler = (ctx: RequestContext) => unknown

/** The bodies of responses with status 200, as the OpenAPI document names them. */
export type ResponseBody =
  | 'result'
  | 'TorchServe result'
  | 'predictions'
  | 'inference'
  | 'model'
  | 'status'
  | 'readiness'
  | 'text'
  | 'object'
  | 'list'
  | 'html'
  | 'page'
  | 'image'
  | 'tensor or image'

/**
 * The one form of body that the document shows for a route, which reads many: an image in a form or, for a model without
 * images, numbers in JSON (`input`); the bytes and dims of a tensor in a form; a bare file; other protocols'.
 */
export type RequestBody = 'input' | 'tensor' | 'bytes' | 'instances' | 'inference'

/** A route's line in the OpenAPI document. */
export interface RouteDoc {
  summary: string
  description?: string
  response: ResponseBody
  body?: RequestBody
  takesTopK?: boolean
  /** statuses of errors, besides those that follow from a body, a name in the path or the token */
  errors?: readonly number[]
  /** a status besides 200 that has the same kind of body */
  otherStatus?: number
  /** needs no token */
  isOpen?: boolean
}

/** The routes of one protocol. */
export interface Protocol {
  name: string
  description: string
  /** the document's schema of its errors */
  error: string
}

export interface Route {
  protocol: Protocol
  /** in lower case */
  methods: string[]
  /** Express's pattern, such as `/models/:model` */
  path: string
  doc: RouteDoc
}

/**
 * Declare a route.
 *
 * @param at methods in lower case and a path, such as `post put /predict`
 * @param doc undefined for a route that is not in the document, such as a stylesheet
 */
export type AddRoute = (at: string, handler: Handler, doc?: RouteDoc) => void

/** A path whose characters mean nothing special to Express. */
export function literalPath(path: string): string {
  return path.replace(/[{}()[\]+?!:*\\]/g, '\\$&')
}

/** Of Express's router, whose types lack `match`. */
interface RouteLayer {
  route?: { path: string; methods: Record<string, boolean> }
  match(path: string): boolean
}

export class Routes {
  readonly all: Route[] = []
  readonly #app: Express

  constructor(app: Express) {
    this.#app = app
  }

  /** The pattern of the route that serves a path, whatever its methods; undefined if there is none. */
  patternOf(path: string): string | undefined {
    return this.#routesOf(path)[0]?.path
  }

  /** @returns the function that declares routes of this protocol */
  of(protocol: Protocol): AddRoute {
    return (at, handler, doc) => {
      const methods = at.split(' ')
      const path = methods.pop() ?? ''
      if (doc) this.all.push({ protocol, methods, path, doc })
      for (const method of methods) {
        this.#app[method as 'get' | 'post' | 'put'](
          path,
          async (req, _res) => void (await handler(req.context)),
        )
      }
    }
  }

  /** The handler after all routes: 405 for a path that has routes with other methods only. */
  readonly checkMethod: RequestHandler = (req, res, next) => {
    const [first, ...others] = this.#routesOf(req.path)
    if (!first) return next()
    req.route = first
    // a later pattern may also match by accident: /v1/models/:model matches /v1/models/mnist:predict
    const routes = [first, ...others.filter(({ path }) => path === first.path)]
    const names = routes.flatMap(({ methods }) => Object.keys(methods).map((name) => name.toUpperCase()))
    const allow = [...names, 'OPTIONS'].join(', ')
    if (req.method === 'OPTIONS') return void res.set('allow', allow).status(204).end()
    const detail = `${req.method} is not allowed on ${req.path}: send ${names.join(' or ')}`
    throw new RequestError(405, detail, { allow })
  }

  #routesOf(path: string) {
    const layers = this.#app.router.stack as unknown as RouteLayer[]
    return layers.flatMap((layer) => (layer.route && layer.match(path) ? [layer.route] : []))
  }
}
