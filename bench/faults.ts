/**
 * Faults under load, which other clients must not notice: npm run bench:faults
 *
 * The inference worker dies 50 times; 1,000 clients disconnect, half during their upload and half in the queue; 200
 * clients send their headers one byte at a time. Meanwhile other clients send requests: none may lose a response, and
 * every gauge must return to 0.
 */
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import { type RunningServer, startServer } from '../test/running_server.ts'
import { printWithLimit } from './limits.ts'

const KILLER = { NODE_OPTIONS: '--import=./test/fixtures/kill_worker.mjs' }
const SLOW = { MODEL_DIR: 'test/fixtures/models/slow' }

/** Start clients that collect wrong responses. @returns a function that stops them */
function healthyClients(server: RunningServer, count: number) {
  let isOver = false
  let answered = 0
  const lost: string[] = []
  const client = async (value: number) => {
    while (!isOver) {
      const body = Float32Array.of(value)
      try {
        const response = await fetch(`${server.url}/predict?dims=1,1`, { method: 'POST', body })
        const text = await response.text()
        const { prediction } = JSON.parse(text)
        if (Math.abs(prediction - value) < 1e-3) answered++
        else lost.push(text)
      } catch (error) {
        lost.push(String(error))
      }
    }
  }
  const done = Promise.all(Array.from({ length: count }, (_, i) => client(i)))
  return async () => {
    isOver = true
    await done
    return { answered, lost }
  }
}

async function gauge(server: RunningServer, name: string): Promise<number> {
  const text = await (await fetch(`${server.url}/metrics`)).text()
  const line = text.match(new RegExp(`^${name} (.*)$`, 'm'))
  if (!line) throw new Error(`/metrics has no ${name}`)
  return Number(line[1])
}

async function report(
  title: string,
  server: RunningServer,
  stop: ReturnType<typeof healthyClients>,
): Promise<void> {
  const { answered, lost } = await stop()
  await setTimeout(500)
  const gauges = ['onnxpress_queue_samples', 'onnxpress_bytes_in_flight', 'onnxpress_requests_in_flight']
  const values = await Promise.all(gauges.map((name) => gauge(server, name)))
  printWithLimit(
    `${title}: ${answered} answered, ${lost.length} lost${lost.length ? ` (${lost[0].slice(0, 200)})` : ''}`,
    answered > 0 && lost.length === 0,
  )
  // the three requests for the gauges are in flight too
  const rest = [values[0], values[1], Math.max(0, values[2] - 3)]
  printWithLimit(
    `  waiting ${rest[0]}, bytes ${rest[1]}, other requests in flight ${rest[2]}`,
    rest.every((value) => value === 0),
  )
}

async function deaths(): Promise<void> {
  const server = await startServer({ env: { ...SLOW, ...KILLER } })
  const stop = healthyClients(server, 16)
  for (let death = 1; death <= 50; death++) {
    server.process.kill('SIGUSR2')
    while ((await gauge(server, 'onnxpress_worker_restarts_total')) < death) await setTimeout(20)
    await setTimeout(1100) // a worker that dies sooner is restarted with a delay
  }
  await report('the inference worker died 50 times', server, stop)
  await server.stop()
}

async function disconnects(): Promise<void> {
  const server = await startServer({ env: SLOW })
  const stop = healthyClients(server, 4)
  const { hostname, port } = new URL(server.url)
  const leave = async (index: number) => {
    const socket = connect(Number(port), hostname).on('error', () => {})
    await once(socket, 'connect')
    const samples = 20
    const head = `POST /predict?dims=${samples},1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${4 * samples}\r\n\r\n`
    const sent = index % 2 === 0 ? 2 * samples : 4 * samples // during the upload, or in the queue
    socket.write(Buffer.concat([Buffer.from(head), Buffer.alloc(sent)]))
    await setTimeout(5 + (index % 40))
    if (index % 3 === 0) socket.resetAndDestroy()
    else socket.destroy()
  }
  for (let i = 0; i < 1000; i += 20) await Promise.all(Array.from({ length: 20 }, (_, k) => leave(i + k)))
  await report('1,000 clients disconnected', server, stop)
  await server.stop()
}

async function slowLoris(): Promise<void> {
  const server = await startServer({ env: SLOW })
  const stop = healthyClients(server, 4)
  const { hostname, port } = new URL(server.url)
  let cut = 0
  const drip = async () => {
    const socket = connect(Number(port), hostname).on('error', () => {})
    const closed = new Promise<void>((resolve) => {
      socket.once('close', () => {
        cut++
        resolve()
      })
    })
    const head = `POST /predict HTTP/1.1\r\nX-Padding: ${'a'.repeat(1000)}`
    for (const letter of head) {
      if (socket.destroyed) break
      socket.write(letter)
      await Promise.race([closed, setTimeout(500)])
    }
  }
  const startedAt = performance.now()
  await Promise.all(Array.from({ length: 200 }, drip))
  await report(
    `200 slow senders, ${cut} cut off within ${((performance.now() - startedAt) / 1000).toFixed(0)} s`,
    server,
    stop,
  )
  await server.stop()
}

await deaths()
await disconnects()
await slowLoris()
process.exit()
