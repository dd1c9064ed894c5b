/** The HTTP server around the app: timeouts, `Expect: 100-continue`, swapping the app, shutdown. */
import { createServer, IncomingMessage, type RequestListener, ServerResponse } from 'node:http'
import { type AddressInfo, Server, type Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import type { Express } from 'express'
import { messageOf, StartError } from '../inference/errors.ts'

/** One app with its model; a reload replaces it. */
export interface AppInstance {
  express: Express
  /** the Express app, or a listener in front of it */
  listener: RequestListener
}

export interface HttpServer {
  url: string
  /** Send new requests to another instance; resolves when the previous one has answered all of its requests. */
  swap(instance: AppInstance): Promise<void>
  /** whether no request is open */
  readonly isIdle: boolean
  /**
   * Close each connection after its next response; after `drainMs`, accept no new connections; resolve when all are closed.
   */
  stop(drainMs: number): Promise<void>
}

/**
 * While stopping, a connection that has been idle for this long is closed. A client in a loop sends its next request
 * sooner: it is answered, with `Connection: close`, where closing at once would reset it.
 */
const LINGER_MS = 1000
const SWEEP_MS = 50

const waitingForContinue = new WeakSet<IncomingMessage>()

/** Tell a client that sent `Expect: 100-continue` to send its body. */
export function sendContinue(req: IncomingMessage, res: ServerResponse): void {
  if (waitingForContinue.delete(req)) res.writeContinue()
}

/** An instance and the number of its open requests. */
class ServedInstance {
  readonly listener: RequestListener
  /**
   * Express replaces the prototypes of every request and response, and V8 is slow with such objects as long as they live:
   * a third fewer requests per second. Objects of these classes already have Express's prototypes.
   */
  readonly Request = class extends IncomingMessage {}
  readonly Response = class extends ServerResponse {}
  open = 0
  onIdle = () => {}

  constructor({ listener, express }: AppInstance) {
    this.listener = listener
    Object.setPrototypeOf(this.Request.prototype, express.request)
    Object.setPrototypeOf(this.Response.prototype, express.response)
    express.request = this.Request.prototype as Express['request']
    express.response = this.Response.prototype as Express['response']
  }

  finishOne(): void {
    this.open--
    if (this.open === 0) this.onIdle()
  }
}

interface Connection {
  /** in order; a Set would leave garbage in the old generation with each change */
  responses: ServerResponse[]
  idleSince: number
}

/** The open connections, their open responses, and when they became idle. */
class Connections {
  readonly #open = new Map<Socket, Connection>()

  add(socket: Socket): void {
    const connection: Connection = { responses: [], idleSince: performance.now() }
    this.#open.set(socket, connection)
    socket.once('close', () => {
      // Node does not close a pipelined response that had not started
      for (const res of [...connection.responses]) if (!res.closed) res.destroy().emit('close')
      this.#open.delete(socket)
    })
  }

  addResponse(socket: Socket, res: ServerResponse): void {
    const connection = this.#open.get(socket)
    connection?.responses.push(res)
    res.once('close', () => {
      if (!connection) return
      connection.responses.splice(connection.responses.indexOf(res), 1)
      connection.idleSince = performance.now()
    })
  }

  get isIdle(): boolean {
    return [...this.#open.values()].every(({ responses }) => responses.length === 0)
  }

  /** Add `Connection: close` to the responses whose heads have not been sent. */
  announceClose(): void {
    for (const { responses } of this.#open.values()) {
      const last = responses.at(-1)
      if (last && !last.headersSent) last.setHeader('connection', 'close')
    }
  }

  /** Close the connections that have been idle for `ms`. */
  closeIdle(ms: number): void {
    for (const [socket, { responses, idleSince }] of this.#open) {
      if (responses.length === 0 && performance.now() - idleSince >= ms) socket.destroySoon()
    }
  }
}

export interface ListenOptions {
  host: string
  /** 0 picks a free one */
  port: number
  /** of this process alone, whatever it shares with others */
  isPrivate?: boolean
  requestTimeoutMs: number
}

/** @throws StartError when the address cannot be used */
export async function listen(instance: AppInstance, options: ListenOptions): Promise<HttpServer> {
  let served = new ServedInstance(instance)
  let isStopping = false
  const connections = new Connections()
  const answer: RequestListener = (req, res) => {
    if (isStopping) res.setHeader('connection', 'close')
    const current = served
    current.open++
    connections.addResponse(req.socket, res)
    res.once('close', () => current.finishOne())
    current.listener(req, res)
  }
  // Node calls these with `new`, and uses what they return
  function Request(socket: Socket) {
    return new served.Request(socket)
  }
  function Response(...args: ConstructorParameters<typeof ServerResponse>) {
    return new served.Response(...args)
  }
  const server = createServer(
    {
      // longer than load balancers keep idle connections (Google's 600 s), so that they do not reuse one that was just
      // closed here
      keepAliveTimeout: 620_000,
      headersTimeout: 10_000,
      // for bodies that no route reads; for the others the app responds with 408 before
      requestTimeout: options.requestTimeoutMs + 10_000,
      connectionsCheckingInterval: 2000,
      IncomingMessage: Request as unknown as typeof IncomingMessage,
      ServerResponse: Response as unknown as typeof ServerResponse,
    },
    answer,
  )
  server.on('connection', (socket) => connections.add(socket))
  // if the header alone is enough to refuse a request, refuse it before its body is sent
  server.on('checkContinue', (req, res) => {
    waitingForContinue.add(req)
    answer(req, res)
  })

  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => reject(listenError(error, options)))
    const { host, port, isPrivate } = options
    server.listen({ host, port, exclusive: isPrivate }, resolve)
  })
  const { address, family, port } = server.address() as AddressInfo

  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`,
    swap(next) {
      const previous = served
      served = new ServedInstance(next)
      return new Promise((resolve) => {
        previous.onIdle = resolve
        if (previous.open === 0) resolve()
      })
    },
    get isIdle() {
      return connections.isIdle
    },
    async stop(drainMs) {
      isStopping = true
      connections.announceClose()
      await setTimeout(drainMs)
      const sweep = setInterval(() => connections.closeIdle(LINGER_MS), SWEEP_MS)
      await new Promise<void>((resolve) => {
        // not http.Server's close(), which also closes idle connections
        Server.prototype.close.call(server, () => resolve())
      })
      clearInterval(sweep)
    },
  }
}

function listenError(error: Error, { host, port }: ListenOptions): StartError {
  const { code } = error as NodeJS.ErrnoException
  if (code === 'EADDRINUSE') {
    const other = port + 1 > 65535 ? 8890 : port + 1
    return new StartError(
      `port ${port} of ${host} is in use: stop the program that uses it, or choose another port: PORT=${other} npm start`,
    )
  }
  if (code === 'EACCES') {
    return new StartError(`port ${port} needs administrator rights: choose 1024 or higher, such as PORT=8890`)
  }
  return new StartError(`cannot listen on HOST=${host} (${messageOf(error)}): use 127.0.0.1 or 0.0.0.0`)
}
