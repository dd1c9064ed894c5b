/**
 * Mutated bodies against the running process: npm run bench:fuzz [-- COUNT [SEED]]
 *
 * Forms, JSON, images and V2 requests with bytes flipped, cut, doubled and exchanged; the same seed gives the same
 * bodies. No answer may be a 5xx, none may take 2 seconds, and the process must be alive and right in the end.
 */
import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import sharp from 'sharp'
import { type RunningServer, startServer } from '../test/running_server.ts'
import { multipart, type Payload } from './load.ts'

const COUNT = Number(process.argv[2] ?? 100_000)
const SEED = Number(process.argv[3] ?? 1)
const CLIENTS = 16

/** mulberry32, a small random number generator: 0 up to 1 */
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

interface Seed extends Payload {
  headers?: Record<string, string>
}

async function seeds(): Promise<Seed[]> {
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
  const json = (path: string, value: unknown): Seed => ({
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

/** One to eight changes to a copy. */
function mutate(body: Buffer, others: Seed[]): Buffer {
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

const agent = new Agent({ keepAlive: true })

function ask(
  server: RunningServer,
  { path, contentType, headers }: Seed,
  body: Buffer,
): Promise<{ status: number; ms: number }> {
  const begun = performance.now()
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
      res.resume().once('end', () => resolve({ status: res.statusCode ?? 0, ms: performance.now() - begun }))
    })
    req.end(body)
  })
}

const server = await startServer()
const all = await seeds()
for (const seed of all) {
  const { status } = await ask(server, seed, seed.body)
  if (status !== 200) throw new Error(`the seed for ${seed.path} is answered ${status}`)
}
const statuses = new Map<number, number>()
const faults: string[] = []
let slowest = 0
let sent = 0
const client = async () => {
  while (sent < COUNT) {
    const number = sent++
    const seed = oneOf(all)
    const { status, ms } = await ask(server, seed, mutate(seed.body, all)).catch((error) => ({
      status: 0,
      ms: 0,
      error,
    }))
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
    slowest = Math.max(slowest, ms)
    if (status === 0 || status >= 500 || ms > 2000)
      faults.push(`${number} ${seed.path}: ${status} in ${ms.toFixed(0)} ms`)
  }
}
await Promise.all(Array.from({ length: CLIENTS }, client))
const { status } = await ask(server, all[0], all[0].body)
const counts = [...statuses].sort(([a], [b]) => a - b).map(([code, count]) => `${code}: ${count}`)
console.log(`${COUNT} mutated bodies, seed ${SEED}: ${counts.join(', ')}; slowest ${slowest.toFixed(0)} ms`)
console.log(`afterwards a right request is answered ${status}; exit code ${await server.stop()}`)
for (const fault of faults.slice(0, 20)) console.log(fault)
process.exit(faults.length === 0 && status === 200 ? 0 : 1)
