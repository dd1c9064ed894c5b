/** The HTTP server around the app: its time-outs, the answer to `Expect: 100-continue`, and an orderly end. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { maxUploadBytes, type Settings } from './config.ts'
import { messageOf, StartError } from './errors.ts'

export interface HttpServer {
  url: string
  /** Take no more connections, answer what is open, and settle when all of it is closed. */
  stop(): Promise<void>
}

type App = (req: IncomingMessage, res: ServerResponse) => void

/** @throws StartError when the address cannot be listened on */
export async function listen(app: App, settings: Settings): Promise<HttpServer> {
  const { HOST, PORT } = settings
  let isStopping = false
  let underWay = 0
  const finished = () => {
    underWay--
  }
  const answer: App = (req, res) => {
    if (isStopping) res.setHeader('connection', 'close')
    underWay++
    res.on('close', finished)
    app(req, res)
  }
  // longer than the keep-alive of the load balancers in front, so that none reuses a connection just closed here
  const server = createServer(
    { keepAliveTimeout: 75_000, headersTimeout: 20_000, requestTimeout: 60_000 },
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
    stop() {
      isStopping = true
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
