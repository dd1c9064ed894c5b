/** Input and result forms of other clients: base64 in JSON, parameters, NumPy files, CSV, Hugging Face. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib'
import { ROOT, type RunningServer, startServer } from './running_server.ts'

const SAMPLE = readFileSync(join(ROOT, 'models/mnist/sample.png'))
const B64 = SAMPLE.toString('base64')
const JSON_TYPE = { 'content-type': 'application/json' }

interface Prediction {
  label: string
  score: number
}

let server: RunningServer
let expected: Prediction[]

before(async () => {
  server = await startServer()
  expected = ((await post('/predict?top_k=10', SAMPLE)).body as { predictions: Prediction[] }).predictions
})
after(() => server.stop())

async function post(path: string, body: RequestInit['body'], headers: Record<string, string> = {}) {
  const response = await fetch(server.url + path, { method: 'POST', body, headers })
  return { status: response.status, body: (await response.json()) as unknown }
}

const postJson = (path: string, json: unknown) => post(path, JSON.stringify(json), JSON_TYPE)

describe('an image in JSON', () => {
  for (const [what, json] of [
    ['image', { image: B64 }],
    ['inputs', { inputs: B64 }],
    ['data', { data: B64 }],
    ['a data URL', { image: `data:image/png;base64,${B64}` }],
    ['b64', { image_bytes: { b64: B64 } }],
  ] as const) {
    test(what, async () => {
      const { body } = await postJson('/predict', { ...json, parameters: { top_k: 2 } })
      assert.deepEqual(body, { ...expected[0], predictions: expected.slice(0, 2) })
    })
  }

  test('several, in order', async () => {
    const { body } = await postJson('/predict', { images: [B64, { b64: B64 }], parameters: { top_k: 1 } })
    assert.deepEqual(
      body,
      [0, 1].map(() => ({ ...expected[0], predictions: [expected[0]] })),
    )
    assert.equal((await postJson('/predict', { images: Array(101).fill(B64) })).status, 413)
  })

  test('top_k of the query takes precedence over the parameters', async () => {
    const { body } = await postJson('/predict?top_k=3', { image: B64, parameters: { top_k: 1 } })
    assert.equal((body as { predictions: unknown[] }).predictions.length, 3)
  })

  for (const [json, detail] of [
    [{ image: 'https://example.com/cat.jpg' }, /image is a URL, but this server fetches nothing/],
    ['s3://bucket/cat.jpg', /the body is a URL/],
    [{ image: 'not base64!' }, /image is not the base64 of an image file/],
    [{ image: B64, parameters: { top_k: 0 } }, /parameters\.top_k/],
    [{ image: B64, parameters: { function_to_apply: 'relu' } }, /parameters\.function_to_apply/],
    [{ image: 5 }, /none of the known forms/],
  ] as const) {
    test(`400: ${JSON.stringify(json).slice(0, 40)}`, async () => {
      const { status, body } = await postJson('/predict', json)
      assert.equal(status, 400)
      assert.match((body as { detail: string }).detail, detail)
    })
  }
})

describe("Hugging Face's inference endpoint", () => {
  test('bytes, or base64 with parameters', async () => {
    assert.deepEqual((await post('/', SAMPLE, { 'content-type': 'image/png' })).body, expected.slice(0, 5))
    const { body } = await postJson('/', { inputs: B64, parameters: { top_k: 2 } })
    assert.deepEqual(body, expected.slice(0, 2))
  })

  test('another score function', async () => {
    const parameters = { top_k: 10, function_to_apply: 'none' }
    const { body } = await postJson('/', { inputs: B64, parameters })
    const logits = body as Prediction[]
    const sum = logits.reduce((total, { score }) => total + Math.exp(score), 0)
    for (const [i, { label, score }] of logits.entries()) {
      assert.equal(label, expected[i].label)
      assert.ok(Math.abs(Math.exp(score) / sum - expected[i].score) < 1e-6)
    }
  })

  test('a multi-label model: the best labels, ranked', async () => {
    const faces = await startServer({ env: { MODEL_DIR: join(ROOT, 'test/fixtures/models/faces') } })
    const response = await fetch(faces.url, { method: 'POST', body: SAMPLE })
    const predictions = (await response.json()) as Prediction[]
    assert.equal(predictions.length, 5)
    assert.deepEqual(
      predictions.map(({ score }) => score),
      predictions.map(({ score }) => score).sort((a, b) => b - a),
    )
    await faces.stop()
  })

  test('errors are as on other routes, and GET serves the page', async () => {
    const { status, body } = await post('/', Buffer.from('hello'))
    assert.equal(status, 415)
    assert.match((body as { detail: string }).detail, /does not start like/)
    assert.match(await (await fetch(server.url)).text(), /<html/)
    const refused = await fetch(server.url, { method: 'DELETE' })
    assert.deepEqual([refused.status, refused.headers.get('allow')], [405, 'GET, POST, OPTIONS'])
  })
})

describe('arrays in files', () => {
  /** As numpy.save writes it. */
  function npy(descr: string, shape: string, data: Uint8Array, isFortran = 'False'): Buffer {
    const dict = `{'descr': '${descr}', 'fortran_order': ${isFortran}, 'shape': (${shape}), }`
    const header = `${dict.padEnd(117)}\n`
    const start = Buffer.from('\x93NUMPY\x01\x00\x00\x00', 'latin1')
    start.writeUInt16LE(header.length, 8)
    return Buffer.concat([start, Buffer.from(header), data])
  }

  const pixels = Float32Array.from({ length: 784 }, (_, i) => (i % 28) / 28)
  const bytes = new Uint8Array(pixels.buffer)

  test('.npy files and CSV are read as tensors', async () => {
    const truth = (await post('/predict?dims=1,28,28', bytes)).body
    const type = { 'content-type': 'application/x-npy' }
    assert.deepEqual((await post('/invocations', npy('<f4', '1, 28, 28', bytes), type)).body, truth)
    const doubles = new Uint8Array(Float64Array.from(pixels).buffer)
    assert.deepEqual((await post('/predict', npy('<f8', '1, 1, 28, 28', doubles))).body, truth)
    const csv = { 'content-type': 'text/csv' }
    const line = pixels.join(',')
    assert.deepEqual((await post('/invocations', line, csv)).body, truth)
    const rows = Array(10).fill(line).join('\r\n') // long enough to be parsed in a thread
    assert.deepEqual((await post('/invocations', rows, csv)).body, Array(10).fill(truth))
  })

  for (const [what, body, type, detail] of [
    ['Fortran order', npy('<f4', '1, 28, 28', bytes, 'True'), 'application/x-npy', /ascontiguousarray/],
    ['big-endian', npy('>f4', '1, 28, 28', bytes), 'application/x-npy', /astype\("float32"\)/],
    ['objects', npy('|O', '1', bytes), 'application/x-npy', /dtype is \|O/],
    ['the dtype "constructor"', npy('<constructor', '1', bytes), 'application/x-npy', /dtype is <cons/],
    ['no samples', npy('<f4', '0, 1, 28, 28', bytes.subarray(0, 0)), 'application/x-npy', /dims/],
    ['a truncated file', npy('<f4', '1, 28, 28', bytes).subarray(0, 9), 'application/x-npy', /cut off/],
    ['too few values', npy('<f4', '1, 28, 28', bytes.subarray(4)), 'application/x-npy', /3136 bytes/],
    ['words in CSV', 'a,b', 'text/csv', /line 1 of the CSV has "a"/],
    ['lines of different lengths', `${pixels.join(',')}\n1,2`, 'text/csv', /ragged/],
    ['too few columns', '1,2\n3,4', 'text/csv', /the data has 4/],
  ] as const) {
    test(`400: ${what}`, async () => {
      const response = await post('/predict', body, { 'content-type': type })
      assert.equal(response.status, 400)
      assert.match((response.body as { detail: string }).detail, detail)
    })
  }

  test('a compressed body', async () => {
    const packed = { gzip: gzipSync(SAMPLE), deflate: deflateSync(SAMPLE), br: brotliCompressSync(SAMPLE) }
    for (const [encoding, bytes] of Object.entries(packed)) {
      const { body } = await post('/predict?top_k=10', bytes, { 'content-encoding': encoding })
      assert.deepEqual((body as { predictions: Prediction[] }).predictions, expected, encoding)
    }
  })

  test('413: too many lines of CSV', async () => {
    const response = await post('/predict', '1\n'.repeat(600_000), { 'content-type': 'text/csv' })
    assert.equal(response.status, 413)
    assert.match((response.body as { detail: string }).detail, /600000 lines; the limit is 500000/)
  })
})
