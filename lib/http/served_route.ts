/** Which route of an app answers a path. */

interface Router {
  stack: Layer[]
}

interface Layer {
  match(path: string): unknown
  route?: { path: unknown }
  handle: Partial<Router>
}

/**
 * @param router Express's; what is mounted in it stands at its root
 * @returns the pattern of the route, whatever its methods; undefined if there is none
 */
export function servedRoute(router: object, path: string): string | undefined {
  for (const layer of (router as Router).stack) {
    if (layer.route && layer.match(path)) return String([layer.route.path].flat()[0])
    const inner = layer.handle.stack ? servedRoute(layer.handle, path) : undefined
    if (inner) return inner
  }
  return undefined
}
