/** The HTTP server around the app: its time-outs, the answer to `Expect: 100-continue`, and an orderly end. */
import { createServer, IncomingMessage, type RequestListener, ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import type { Express } from 'express'
import { messageOf, StartError } from '../inference/errors.ts'
import type { Settings } from '../process/settings.ts'

/** What answers requests. */
export interface App {
  /** it, or what stands in front of it */
  listener: RequestListener
  express: Express
}

export interface HttpServer {
  url: string
  /** Give requests that come from now on to another app; settles when the one before has answered all of its own. */
  swap(app: App): Promise<void>
  /** whether no request is under way */
  readonly isIdle: boolean
  /**
   * From now on close each connection behind its answer; after `drainMs` take no new ones, and settle when all are closed.
   */
  stop(drainMs: number): Promise<void>
}

const waitingForContinue = new WeakSet<IncomingMessage>()

/** Tell a client that asked whether it may send its body (`Expect: 100-continue`) that it may. */
export function sendContinue(req: IncomingMessage, res: ServerResponse): void {
  if (waitingForContinue.delete(req)) res.writeContinue()
}

/** An app, and how many of its requests are under way. */
class Serving {
  readonly listener: RequestListener
  /**
   * Express exchanges the prototype of every request and response, and V8 is slow with objects that this was done to, for
   * as long as they live: a third of the requests a second. These are born as what Express would make of them.
   */
  readonly Request = class extends IncomingMessage {}
  readonly Response = class extends ServerResponse {}
  underWay = 0
  onIdle = () => {}

  constructor({ listener, express }: App) {
    this.listener = listener
    Object.setPrototypeOf(this.Request.prototype, express.request)
    Object.setPrototypeOf(this.Response.prototype, express.response)
    express.request = this.Request.prototype as Express['request']
    express.response = this.Response.prototype as Express['response']
  }

  done(): void {
    this.underWay--
    if (this.underWay === 0) this.onIdle()
  }
}

/** @throws StartError when the address cannot be listened on */
export async function listen(app: App, settings: Settings): Promise<HttpServer> {
  const { HOST, PORT, REQUEST_TIMEOUT_MS } = settings
  let serving = new Serving(app)
  let isStopping = false
  /** connections, and the requests of each that are under way */
  const open = new Map<Socket, Set<ServerResponse>>()
  const isIdle = () => [...open.values()].every(({ size }) => size === 0)
  const answer: RequestListener = (req, res) => {
    if (isStopping) res.setHeader('connection', 'close')
    const { socket } = req
    const mine = serving
    mine.underWay++
    open.get(socket)?.add(res)
    res.once('close', () => {
      open.get(socket)?.delete(res)
      mine.done()
    })
    mine.listener(req, res)
  }
  // Node calls these with `new`, and takes what they return
  function Request(socket: Socket) {
    return new serving.Request(socket)
  }
  function Response(...args: ConstructorParameters<typeof ServerResponse>) {
    return new serving.Response(...args)
  }
  const server = createServer(
    {
      // longer than the keep-alive of the load balancers in front, so that none reuses a connection just closed here
      keepAliveTimeout: 75_000,
      headersTimeout: 10_000,
      // the app has said 408 before: this is for bodies that no route reads
      requestTimeout: REQUEST_TIMEOUT_MS + 10_000,
      connectionsCheckingInterval: 2000,
      IncomingMessage: Request as unknown as typeof IncomingMessage,
      ServerResponse: Response as unknown as typeof ServerResponse,
    },
    answer,
  )
  server.on('connection', (socket) => {
    open.set(socket, new Set())
    socket.once('close', () => {
      // Node does not close a response whose turn on the connection has not come
      for (const res of open.get(socket) ?? []) if (!res.closed) res.destroy().emit('close')
      open.delete(socket)
    })
  })
  // what the app refuses without looking at the body is refused before the body is sent
  server.on('checkContinue', (req, res) => {
    waitingForContinue.add(req)
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
      return new Promise((resolve) => {
        before.onIdle = resolve
        if (before.underWay === 0) resolve()
      })
    },
    get isIdle() {
      return isIdle()
    },
    async stop(drainMs) {
      isStopping = true
      await setTimeout(drainMs)
      // a connection whose request was under way when the end began is idle only after its answer; one that has
      // never sent a whole head would hold up the end
      const sweep = () => {
        if (isIdle()) server.closeAllConnections()
        else server.closeIdleConnections()
      }
      const sweeping = setInterval(sweep, 50)
      await new Promise<void>((resolve) => {
        server.close(() => resolve())
        sweep()
      })
      clearInterval(sweeping)
    },
  }
}
