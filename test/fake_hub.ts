/** The Hugging Face Hub's routes on loopback, with its redirects, ETags, hashes and errors, and faults on demand. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'

export interface HubRepo {
  commit: string
  files: Record<string, Buffer>
  /** needed to read it: another one gets 404; a gated repository gives everyone 403 */
  token?: string
  isGated?: boolean
}

/** A fault in the transfer of a file. */
export interface Fault {
  /** bytes of each response before the connection breaks, or stalls */
  cutAfter?: number
  stallAfter?: number
  /** number of responses with the fault; default: all */
  times?: number
  /** the first byte is wrong */
  isCorrupt?: boolean
}

const LARGE = /\.onnx/
const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const gitSha1 = (bytes: Buffer) =>
  createHash('sha1').update(`blob ${bytes.length}\0`).update(bytes).digest('hex')

/** Files per page: a listing takes several requests, as on the Hub. */
const PAGE_SIZE = 2

export class FakeHub {
  readonly repos = new Map<string, HubRepo>()
  /** by the file's name */
  readonly faults = new Map<string, Fault>()
  /** `METHOD path range` of each request to the Hub or its CDN */
  readonly requests: string[] = []
  /** bytes sent, by file name */
  readonly sent = new Map<string, number>()
  /** whether the CDN, another origin, ever received a token */
  isTokenLeaked = false
  /** called when a response has stalled */
  onStall = () => {}
  url = ''
  readonly #hub: Server
  readonly #cdn: Server

  constructor() {
    this.#hub = createServer((request, response) => this.#answer(request, response))
    this.#cdn = createServer((request, response) => this.#sendLarge(request, response))
  }

  async start(): Promise<this> {
    for (const server of [this.#hub, this.#cdn]) {
      server.listen(0, '127.0.0.1').unref()
      await once(server, 'listening')
    }
    this.url = urlOf(this.#hub)
    return this
  }

  async stop(): Promise<void> {
    for (const server of [this.#hub, this.#cdn]) {
      server.close()
      server.closeAllConnections()
      await once(server, 'close')
    }
  }

  /** The paths of the downloaded files. */
  get downloaded(): string[] {
    const paths = this.requests.map((line) => / \S+\/resolve\/\w+\/(\S+) (?!bytes=0-0)/.exec(line)?.[1])
    return paths.filter((path) => path !== undefined)
  }

  #answer(request: IncomingMessage, response: ServerResponse) {
    const { pathname, searchParams } = new URL(request.url!, this.url)
    this.requests.push(`${request.method} ${pathname} ${request.headers.range ?? ''}`)
    const [, repoName, kind, revision, path = ''] =
      /^(?:\/api\/models|\/api\/resolve-cache\/models)?\/([^/]+\/[^/]+)\/(\w+)\/([^/]+)\/?(.*)$/.exec(
        pathname,
      ) ?? []
    const token = /^Bearer (.*)/.exec(request.headers.authorization ?? '')?.[1]
    const repo = this.repos.get(repoName)
    if (!repo || (repo.token && repo.token !== token)) {
      if (!token) return refuse(response, 401, 'RepoNotFound', 'Invalid username or password.')
      return refuse(response, 404, 'RepoNotFound', 'Repository not found')
    }
    if (repo.isGated) {
      return refuse(
        response,
        403,
        'GatedRepo',
        `Access to model ${repoName} is restricted and you are not in the list.`,
      )
    }
    if (revision !== repo.commit && (kind !== 'revision' || decodeURIComponent(revision) !== 'main')) {
      return refuse(response, 404, 'RevisionNotFound', `Invalid rev id: ${revision}`)
    }
    if (kind === 'revision') {
      return json(response, {
        _id: 'x',
        id: repoName,
        sha: repo.commit,
        lastModified: '2026-01-01T00:00:00.000Z',
      })
    }
    if (kind === 'tree')
      return this.#listPage(response, repo, pathname, Number(searchParams.get('cursor') ?? 0))
    this.#resolve(request, response, repo, decodeURIComponent(path), pathname)
  }

  #listPage(response: ServerResponse, { files }: HubRepo, pathname: string, from: number) {
    const entries = Object.entries(files).map(([path, bytes]) => {
      const large = { lfs: { oid: sha256(bytes), size: bytes.length, pointerSize: 134 } }
      return { type: 'file', oid: gitSha1(bytes), size: bytes.length, path, ...(LARGE.test(path) && large) }
    })
    const folders = [{ type: 'directory', oid: '0'.repeat(40), size: 0, path: 'onnx' }]
    const all = [...folders, ...entries]
    const next = `<${this.url}${pathname}?recursive=true&cursor=${from + PAGE_SIZE}>; rel="next"`
    json(response, all.slice(from, from + PAGE_SIZE), from + PAGE_SIZE < all.length ? { link: next } : {})
  }

  #resolve(
    request: IncomingMessage,
    response: ServerResponse,
    repo: HubRepo,
    path: string,
    pathname: string,
  ) {
    const bytes = repo.files[path]
    response.setHeader('x-repo-commit', repo.commit)
    if (!bytes) return refuse(response, 404, 'EntryNotFound', 'Entry not found')
    if (LARGE.test(path)) {
      const location = `${urlOf(this.#cdn)}/${sha256(bytes)}?repo=${encodeURIComponent(pathname)}&path=${path}`
      const linked = { 'x-linked-size': bytes.length, 'x-linked-etag': `"${sha256(bytes)}"` }
      response.writeHead(302, { location, ...linked }).end()
    } else if (pathname.startsWith('/api/resolve-cache'))
      this.#send(request, response, path, bytes, gitSha1(bytes))
    else response.writeHead(307, { location: `/api/resolve-cache/models${pathname}` }).end()
  }

  #sendLarge(request: IncomingMessage, response: ServerResponse) {
    if (request.headers.authorization) this.isTokenLeaked = true
    const { pathname, searchParams } = new URL(request.url!, this.url)
    const path = searchParams.get('path')!
    const files = [...this.repos.values()].map(({ files }) => files[path])
    const bytes = files.find((content) => content && `/${sha256(content)}` === pathname)!
    this.#send(request, response, path, bytes, sha256(bytes))
  }

  /** Send a file, or the bytes that the Range header requests. */
  #send(request: IncomingMessage, response: ServerResponse, path: string, bytes: Buffer, etag: string) {
    const [, from = '0', to = ''] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? '') ?? []
    const end = Math.min(Number(to || bytes.length - 1) + 1, bytes.length)
    const range = { 'content-range': `bytes ${from}-${end - 1}/${bytes.length}` }
    const part = Buffer.from(bytes.subarray(Number(from), end))
    const isProbe = request.headers.range === 'bytes=0-0'
    const fault = isProbe ? undefined : this.faults.get(path)
    if (fault?.isCorrupt) part[0] ^= 1
    const headers = { etag: `"${etag}"`, 'content-length': part.length, 'accept-ranges': 'bytes' }
    response.writeHead(
      request.headers.range ? 206 : 200,
      request.headers.range ? { ...headers, ...range } : headers,
    )
    const limit = fault && fault.times !== 0 ? (fault.cutAfter ?? fault.stallAfter) : undefined
    const sending = part.subarray(0, limit)
    if (!isProbe) this.sent.set(path, (this.sent.get(path) ?? 0) + sending.length)
    if (limit === undefined || sending.length === part.length) return void response.end(sending)
    if (fault?.times) fault.times--
    response.write(sending, () => {
      if (fault?.cutAfter === undefined) this.onStall()
      else response.socket?.end()
    })
  }
}

function urlOf(server: Server): string {
  return `http://127.0.0.1:${(server.address() as { port: number }).port}`
}

function json(response: ServerResponse, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(200, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
}

function refuse(response: ServerResponse, status: number, code: string, error: string): void {
  response.writeHead(status, { 'content-type': 'application/json', 'x-error-code': code })
  response.end(JSON.stringify({ error }))
}
