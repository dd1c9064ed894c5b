/**
 * Load that does not wait for responses: a fixed number of requests per second, as from many independent clients.
 *
 * Hand-written HTTP: Node's client takes up to twice the processor time, and the server is on the same machine.
 */
import { connect, type Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import type { Payload } from './load.ts'

/** The outcome of a request: its status, 0 if there was none, and the time to the end of the response. */
export interface Outcome {
  status: number
  ms: number
}

/** Idle connections, by server. */
const idle = new Map<string, Socket[]>()

function idleOf(url: string): Socket[] {
  const sockets = idle.get(url) ?? []
  idle.set(url, sockets)
  return sockets
}

function open(url: string): Socket {
  const { hostname, port } = new URL(url)
  const socket = connect(Number(port), hostname).setNoDelay()
  socket.on('error', () => {}) // is followed by 'close'
  socket.once('close', () => {
    idle.set(
      url,
      idleOf(url).filter((other) => other !== socket),
    )
  })
  return socket
}

/** The bytes to send, by payload. */
const requests = new WeakMap<Payload, Buffer>()

function bytesOf(payload: Payload): Buffer {
  const known = requests.get(payload)
  if (known) return known
  const { path, contentType = 'application/octet-stream', headers = {}, body } = payload
  const lines = Object.entries({
    host: 'localhost',
    'content-type': contentType,
    'content-length': body.length,
    ...headers,
  }).map(([name, value]) => `${name}: ${value}\r\n`)
  const bytes = Buffer.concat([Buffer.from(`POST ${path} HTTP/1.1\r\n${lines.join('')}\r\n`), body])
  requests.set(payload, bytes)
  return bytes
}

/** A parser of one response: `read` takes each chunk, and returns whether the response is complete. */
function createReader() {
  let head = ''
  let status = 0
  let missing = 0
  let isChunked = false
  let tail = ''
  return {
    get status() {
      return status
    },
    get isKeptAlive() {
      return !/^connection: *close/im.test(head)
    },
    read(chunk: Buffer): boolean {
      let body = chunk
      if (status === 0) {
        const text = head + chunk.toString('latin1')
        const end = text.indexOf('\r\n\r\n')
        if (end < 0) {
          head = text
          return false
        }
        body = chunk.subarray(end + 4 - head.length)
        head = text.slice(0, end)
        status = Number(head.slice(9, 12))
        isChunked = /^transfer-encoding: *chunked/im.test(head)
        missing = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0)
      }
      missing -= body.length
      tail = (tail + body.toString('latin1')).slice(-5)
      return isChunked ? tail === '0\r\n\r\n' : missing <= 0
    },
  }
}

export function send(url: string, payload: Payload): Promise<Outcome> {
  const startedAt = performance.now()
  const socket = idleOf(url).pop() ?? open(url)
  const reader = createReader()
  let isSent = false
  let isAnswered = false
  return new Promise((resolve) => {
    const finish = () => {
      if (!isSent || !isAnswered) return
      socket.off('data', onData).off('close', onClose)
      if (reader.isKeptAlive) idleOf(url).push(socket)
      else socket.destroy()
    }
    const onData = (chunk: Buffer) => {
      if (isAnswered || !reader.read(chunk)) return
      isAnswered = true
      resolve({ status: reader.status, ms: performance.now() - startedAt })
      finish()
    }
    const onClose = () => resolve({ status: 0, ms: performance.now() - startedAt })
    socket.on('data', onData).once('close', onClose)
    socket.write(bytesOf(payload), (error) => {
      isSent = !error
      finish()
    })
  })
}

/** A fixed number of clients, each with one request at a time. */
export async function closedLoop(
  url: string,
  payload: Payload,
  clients: number,
  seconds: number,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  const end = performance.now() + seconds * 1000
  const client = async () => {
    while (performance.now() < end) outcomes.push(await send(url, payload))
  }
  await Promise.all(Array.from({ length: clients }, client))
  return outcomes
}

/** Cap on open requests, since a process cannot have more connections. Requests beyond it count as failed. */
const MAX_OPEN = 4096

export async function openLoop(
  url: string,
  payload: Payload,
  perSecond: number,
  seconds: number,
): Promise<Outcome[]> {
  const startedAt = performance.now()
  const sent: Promise<Outcome>[] = []
  let waiting = 0
  const client = async (): Promise<Outcome> => {
    if (waiting === MAX_OPEN) return { status: 0, ms: 0 }
    waiting++
    return send(url, payload).finally(() => waiting--)
  }
  for (;;) {
    const now = performance.now() - startedAt
    if (now > seconds * 1000) break
    while (sent.length < (now / 1000) * perSecond) sent.push(client())
    await setTimeout(1)
  }
  const outcomes = await Promise.all(sent)
  for (const socket of idleOf(url)) socket.destroy()
  idle.delete(url)
  return outcomes
}

/** Latencies of the 200 responses, 0 without any, and the number of other outcomes. */
export function summary(outcomes: Outcome[]): { p50Ms: number; p99Ms: number; errors: number } {
  const times = outcomes.filter(({ status }) => status === 200).map(({ ms }) => ms)
  const errors = outcomes.length - times.length
  return { p50Ms: percentile(times, 0.5) || 0, p99Ms: percentile(times, 0.99) || 0, errors }
}

/** The value below which the share `p` (0 to 1) of the values lies. */
export function percentile(values: number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? Number.NaN
}
