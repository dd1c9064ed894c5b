/** The HTTP server around the app: its time-outs, the answer to `Expect: 100-continue`, and an orderly end. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { maxUploadBytes, type Settings } from './config.ts'
import { messageOf, StartError } from './errors.ts'

type App = (req: IncomingMessage, res: ServerResponse) => void

export interface HttpServer {
  url: string
  /** Give requests that come from now on to another app; settles when the one before has answered all of its own. */
  swap(app: App): Promise<void>
  /**
   * From now on close each connection behind its answer; after `drainMs` take no new ones, and settle when all are closed.
   */
  stop(drainMs: number): Promise<void>
}

/** An app, and its requests that are under way. */
class Serving {
  readonly app: App
  #underWay = 0
  #whenIdle: (() => void) | undefined

  constructor(app: App) {
    this.app = app
  }

  answer(req: IncomingMessage, res: ServerResponse): void {
    this.#underWay++
    res.once('close', () => {
      this.#underWay--
      if (this.#underWay === 0) this.#whenIdle?.()
    })
    this.app(req, res)
  }

  async idle(): Promise<void> {
    if (this.#underWay === 0) return
    await new Promise<void>((resolve) => {
      this.#whenIdle = resolve
    })
  }
}

/** @throws StartError when the address cannot be listened on */
export async function listen(app: App, settings: Settings): Promise<HttpServer> {
  const { HOST, PORT, REQUEST_TIMEOUT_MS } = settings
  let serving = new Serving(app)
  let isStopping = false
  let underWay = 0
  const answer: App = (req, res) => {
    if (isStopping) res.setHeader('connection', 'close')
    underWay++
    res.once('close', () => underWay--)
    serving.answer(req, res)
  }
  const server = createServer(
    {
      // longer than the keep-alive of the load balancers in front, so that none reuses a connection just closed here
      keepAliveTimeout: 75_000,
      headersTimeout: 10_000,
      // the app has said 408 before: this is for bodies that no route reads
      requestTimeout: REQUEST_TIMEOUT_MS + 10_000,
      connectionsCheckingInterval: 2000,
    },
    answer,
  )
  // a client that asks before it sends a body that is too large is told so before it does
  server.on('checkContinue', (req, res) => {
    if (Number(req.headers['content-length'] ?? 0) <= maxUploadBytes(settings)) res.writeContinue()
    answer(req, res)
  })

  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) =>
      reject(
        new StartError(
          `HOST=${HOST} PORT=${PORT}: ${messageOf(error)}: choose others, or stop what listens there`,
        ),
      ),
    )
    server.listen(PORT, HOST, resolve)
  })
  const { address, family, port } = server.address() as AddressInfo

  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`,
    swap(next) {
      const before = serving
      serving = new Serving(next)
      return before.idle()
    },
    async stop(drainMs) {
      isStopping = true
      await setTimeout(drainMs)
      // a connection whose request was under way when the end began is idle only after its answer; one that has
      // never sent a whole head would hold up the end
      const sweep = setInterval(() => {
        if (underWay === 0) server.closeAllConnections()
        else server.closeIdleConnections()
      }, 50)
      return new Promise((resolve) => {
        server.close(() => {
          clearInterval(sweep)
          resolve()
        })
      })
    },
  }
}
