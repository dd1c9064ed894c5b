/**
 * Mutated requests against the running process: npm run bench:fuzz [-- COUNT [SEED]]
 *
 * Forms, JSON, images and V2 requests with bytes changed, removed, repeated and inserted in bodies, headers and
 * queries. The same seed gives the same requests. No response may be a 5xx, contain the internal marker, or take over
 * 2 seconds. A valid request at the end must get 200.
 */
import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import sharp from 'sharp'
import { type RunningServer, startServer } from '../test/running_server.ts'
import { multipart, type Payload } from './load.ts'

const COUNT = Number(process.argv[2] ?? 100_000)
const SEED = Number(process.argv[3] ?? 1)
const CLIENTS = 16

/** Numbers from 0 up to 1 (mulberry32). */
function randomNumbers(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), 1 | state)
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

const random = randomNumbers(SEED)
const below = (limit: number) => Math.floor(random() * limit)
const oneOf = <T>(values: readonly T[]): T => values[below(values.length)]

async function seeds(): Promise<Payload[]> {
  const image = sharp(readFileSync('models/mnist/sample.png')).resize(40, 30)
  const images = await Promise.all([
    image.clone().jpeg().toBuffer(),
    image.clone().png().toBuffer(),
    image.clone().webp().toBuffer(),
    image.clone().gif().toBuffer(),
    image.clone().tiff().toBuffer(),
    image.clone().avif().toBuffer(),
  ])
  const digit = Buffer.from(Float32Array.from({ length: 784 }, () => random()).buffer)
  const numbers = Array.from({ length: 784 }, (_, i) => i / 784)
  const json = (path: string, value: unknown): Payload => ({
    path,
    contentType: 'application/json',
    body: Buffer.from(JSON.stringify(value)),
  })
  const v2 = { name: 'pixel_values', shape: [1, 1, 28, 28], datatype: 'FP32' }
  const v2Json = {
    id: 'a',
    inputs: [{ ...v2, data: numbers }],
    outputs: [{ name: 'logits', parameters: { classification: 3 } }],
  }
  const v2Head = Buffer.from(JSON.stringify({ inputs: [{ ...v2, parameters: { binary_data_size: 3136 } }] }))
  const b64 = images[1].toString('base64')
  return [
    ...images.map((body) => ({ path: '/predict', body })),
    ...images.map((body) => ({ path: '/predictions/mnist', body })),
    ...images.slice(0, 2).map((body) => ({ path: '/preprocess', body })),
    multipart('/predict', { metadata: '{"dims":[1,28,28]}', data: digit }),
    multipart('/predict', { image: images[0], other: images[1] }),
    multipart('/test', { metadata: '{"dims":[1,1,28,28],"dtype":"float32"}', data: digit }),
    { path: '/predict?dims=1,28,28', body: digit },
    json('/predict', { data: numbers, dims: [1, 28, 28] }),
    json('/predict', { instances: [{ b64 }, { b64 }] }),
    json('/v1/models/mnist:predict', { instances: [{ b64 }] }),
    json('/predictions/mnist', b64),
    json('/v2/models/mnist/infer', v2Json),
    {
      path: '/v2/models/mnist/infer',
      body: Buffer.concat([v2Head, digit]),
      headers: { 'inference-header-content-length': String(v2Head.length) },
    },
    { path: '/v2/models/mnist/infer', body: digit, headers: { 'inference-header-content-length': '0' } },
  ]
}

const TOKENS = [
  '[',
  ']',
  '{',
  '}',
  '"',
  ',',
  '-1',
  '1e999',
  'null',
  '\0',
  '\r\n',
  '--',
  '99999999999999999999',
  '\uFFFD',
].map((text) => Buffer.from(text))

/** A copy with one to eight changes. */
function mutate(body: Buffer, others: Payload[]): Buffer {
  let bytes = Buffer.from(body)
  for (let changes = 1 + below(8); changes > 0; changes--) {
    const at = below(bytes.length + 1)
    const length = below(Math.min(64, bytes.length - at + 1))
    const [before, part, after] = [
      bytes.subarray(0, at),
      bytes.subarray(at, at + length),
      bytes.subarray(at + length),
    ]
    switch (below(7)) {
      case 0:
        if (at < bytes.length) bytes[at] ^= 1 << below(8)
        break
      case 1:
        if (at < bytes.length) bytes[at] = below(256)
        break
      case 2:
        bytes = Buffer.concat([before, after])
        break
      case 3:
        bytes = Buffer.concat([before, part, part, after])
        break
      case 4:
        bytes = Buffer.concat([before, oneOf(TOKENS), after])
        break
      case 5:
        bytes = Buffer.from(before)
        break
      default: {
        const other = oneOf(others).body
        const from = below(other.length)
        bytes = Buffer.concat([before, other.subarray(from, from + below(256)), after])
      }
    }
  }
  return bytes
}

const FORM = 'multipart/form-data'
const HEADERS: Record<string, readonly string[]> = {
  'content-type': [
    FORM,
    `${FORM}; boundary=`,
    `${FORM}; boundary=;`,
    `${FORM}; boundary=""`,
    `${FORM}; boundary="x`,
    `${FORM}; boundary=x; boundary=y`,
    `${FORM}; boundary=\u00e9`,
    `${FORM}; boundary=${'x'.repeat(10_000)}`,
    'application/json; charset=utf-16',
    'application/vnd.x+json',
    'text/plain',
    'application/x-www-form-urlencoded',
    '',
  ],
  accept: ['*/*', 'text/plain', 'image/png', 'application/json;q=0', 'a/b;q=x, */*;q=', ''],
  'content-encoding': ['gzip', 'br', 'deflate', 'identity', 'gzip, br', 'GZIP', 'constructor', ''],
  'inference-header-content-length': ['0', '1', '-1', '1e3', '99999999999999999999', '0x10', ''],
  'x-request-id': ['a', '__proto__', 'a'.repeat(200), '{}', '\u00ff', ''],
  expect: ['100-continue'],
}
const QUERIES: Record<string, readonly string[]> = {
  top_k: ['1', '0', '-1', '1e3', '99999999999999999999', '1&top_k=2', 'NaN', ''],
  dims: ['1,28,28', '1,1,28,28', '0', '-1', ',', '1e9', '9007199254740993', '1,28,28&dims=1', '%00', ''],
  dtype: ['float32', 'uint8', 'constructor', ''],
  topk: ['1'],
  'a[b]': ['1'],
  constructor: ['1'],
}

/** Drop the characters that a header or a URL must not contain. */
const sendable = (text: Buffer, bad: RegExp) => text.toString('latin1').replace(bad, '')

/** The request with another body, header or query. */
function mutateRequest(seed: Payload, others: Payload[]): Payload {
  let { path } = seed
  let headers: Record<string, string> = {
    'content-type': seed.contentType ?? 'application/octet-stream',
    ...seed.headers,
  }
  const which = below(6)
  if (which < 2) {
    const name = oneOf(Object.keys(HEADERS))
    const given = headers[name] ?? oneOf(HEADERS[name])
    const value = below(2)
      ? oneOf(HEADERS[name])
      : sendable(mutate(Buffer.from(given), others), NOT_IN_HEADER)
    headers = { ...headers, [name]: value.slice(0, 12_000) }
  } else if (which === 2) {
    const name = oneOf(Object.keys(QUERIES))
    const query = Buffer.from(`${name}=${oneOf(QUERIES[name])}`)
    const text = below(2) ? String(query) : sendable(mutate(query, others), NOT_IN_URL)
    path += `${path.includes('?') ? '&' : '?'}${text.slice(0, 2000)}`
  }
  const body = which < 3 && below(2) ? seed.body : mutate(seed.body, others)
  return { path, headers, body }
}

/** Characters that Node's client refuses to send. */
const NOT_IN_HEADER = /[^\t\x20-\x7e\x80-\xff]/g
const NOT_IN_URL = /[^\x21-\x7e]|#/g

const agent = new Agent({ keepAlive: true })

/** parseExactly's marker, which must never reach a client. */
const MARKER = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}:/

interface Outcome {
  status: number
  ms: number
  text: string
}

function ask(server: RunningServer, { path, contentType, headers, body }: Payload): Promise<Outcome> {
  const startedAt = performance.now()
  return new Promise((resolve, reject) => {
    const req = request(server.url + path, {
      agent,
      method: 'POST',
      headers: {
        'content-type': contentType ?? 'application/octet-stream',
        'content-length': body.length,
        ...headers,
      },
    })
    req.once('error', reject)
    req.once('response', (res) => {
      let text = ''
      res.setEncoding('latin1').on('data', (chunk) => {
        if (text.length < 10_000) text += chunk
      })
      res.once('end', () => resolve({ status: res.statusCode ?? 0, ms: performance.now() - startedAt, text }))
    })
    req.end(body)
  })
}

const server = await startServer()
const all = await seeds()
for (const seed of all) {
  const { status } = await ask(server, seed)
  if (status !== 200) throw new Error(`the unchanged request to ${seed.path} gets ${status}, expected 200`)
}
const statuses = new Map<number, number>()
const faults: string[] = []
let slowest = 0
let sent = 0
const client = async () => {
  while (sent < COUNT) {
    const number = sent++
    const seed = oneOf(all)
    const request = mutateRequest(seed, all)
    const { status, ms, text } = await ask(server, request).catch((error) => ({
      status: 0,
      ms: 0,
      text: String(error),
    }))
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
    slowest = Math.max(slowest, ms)
    if (status === 0 || status >= 500 || ms > 2000 || MARKER.test(text)) {
      const headers = JSON.stringify(request.headers).slice(0, 300)
      faults.push(
        `${number} ${request.path} ${headers}: ${status} in ${ms.toFixed(0)} ms: ${text.slice(0, 200)}`,
      )
    }
  }
}
await Promise.all(Array.from({ length: CLIENTS }, client))
const { status } = await ask(server, all[0])
const counts = [...statuses].sort(([a], [b]) => a - b).map(([code, count]) => `${code}: ${count}`)
console.log(`${COUNT} mutated requests, seed ${SEED}: ${counts.join(', ')}; slowest ${slowest.toFixed(0)} ms`)
const exitCode = await server.stop()
console.log(`afterwards a valid request gets ${status}; exit code ${exitCode}`)
for (const fault of faults.slice(0, 20)) console.log(fault)
process.exit(faults.length === 0 && status === 200 && exitCode === 0 ? 0 : 1)
