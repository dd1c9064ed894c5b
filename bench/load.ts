/** HTTP load by wrk (Debian: apt install wrk): many keep-alive connections, each with one request at a time. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { scratchFolder } from './scratch.ts'

export interface Payload {
  path: string
  contentType?: string
  headers?: Record<string, string>
  body: Buffer
}

export interface LoadResult {
  /** 2xx responses */
  perSecond: number
  p50Ms: number
  p99Ms: number
  /** other responses, and broken connections */
  errors: number
}

/** A multipart form of these parts. */
export function multipart(path: string, parts: Record<string, Buffer | string>): Payload {
  const boundary = '------------------------d74496d66958873e'
  const chunks = Object.entries(parts).flatMap(([name, value]) => {
    const file =
      typeof value === 'string' ? '' : `; filename="${name}"\r\nContent-Type: application/octet-stream`
    const head = `--${boundary}\r\nContent-Disposition: form-data; name="${name}"${file}\r\n\r\n`
    return [Buffer.from(head), Buffer.from(value), Buffer.from('\r\n')]
  })
  const body = Buffer.concat([...chunks, Buffer.from(`--${boundary}--\r\n`)])
  return { path, contentType: `multipart/form-data; boundary=${boundary}`, body }
}

const folder = scratchFolder('bench')

/** Each connection repeats the payload as soon as a response arrives. */
export async function load(
  url: string,
  payload: Payload,
  connections: number,
  seconds: number,
): Promise<LoadResult> {
  const bodyFile = join(folder, 'body')
  const script = join(folder, 'script.lua')
  writeFileSync(bodyFile, payload.body)
  const headers = { 'Content-Type': payload.contentType ?? 'application/octet-stream', ...payload.headers }
  const lines = Object.entries(headers).map(
    ([name, value]) => `wrk.headers[${JSON.stringify(name)}] = ${JSON.stringify(value)}`,
  )
  writeFileSync(
    script,
    `wrk.method = "POST"
${lines.join('\n')}
wrk.body = io.open(${JSON.stringify(bodyFile)}, "rb"):read("*a")
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format("RESULT %f %f %f %d\\n", (summary.requests - e.status) / summary.duration * 1e6,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, e.connect + e.read + e.write + e.status + e.timeout))
end
`,
  )
  const args = [
    '-t1',
    `-c${connections}`,
    `-d${seconds}`,
    '--timeout',
    '30',
    '-s',
    script,
    url + payload.path,
  ]
  const wrk = spawn('wrk', args, { stdio: ['ignore', 'pipe', 'inherit'] })
  let text = ''
  wrk.stdout.on('data', (data) => {
    text += data
  })
  await once(wrk, 'close')
  const numbers = text
    .match(/RESULT (\S+) (\S+) (\S+) (\S+)/)
    ?.slice(1)
    .map(Number)
  if (!numbers) throw new Error(`unexpected output of wrk: ${text}`)
  const [perSecond, p50Ms, p99Ms, errors] = numbers
  return { perSecond, p50Ms, p99Ms, errors }
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/** The best median rate over all numbers of connections. */
export function bestRate(closed: { perSecond: number[] }[]): number {
  return Math.max(...closed.map(({ perSecond }) => median(perSecond)))
}
