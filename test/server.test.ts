import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, symlinkSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import sharp from 'sharp'
import { freePort, ROOT, type RunningServer, run, startServer } from './running_server.ts'

const FIXTURES = join(ROOT, 'test/fixtures')
const SAMPLE = readFileSync(join(ROOT, 'models/mnist/sample.png'))

/** PyTorch's scores, made by fixtures/make_scores.py; the inputs are 28x28 bytes. */
const truth: { scores: number[][] } = JSON.parse(readFileSync(join(FIXTURES, 'scores.json'), 'utf8'))

/** Input k of make_scores.py: 784 bytes. */
function inputBytes(k: number): Uint8Array<ArrayBuffer> {
  const [ink, paper] = k % 4 ? [200 + k, k] : [k, 250 - k]
  const radius = 3 + (k % 5)
  return Uint8Array.from({ length: 784 }, (_, i) => {
    const [y, x] = [Math.floor(i / 28), i % 28]
    const isRing = Math.abs((x - 13) ** 2 + (y - 8 - (k % 9)) ** 2 - radius ** 2) <= radius + (k % 3)
    const isBar = Math.abs(x - 9 - (k % 11)) <= k % 2 && y >= 4 + (k % 3) && y <= 14 + (k % 11)
    return isRing || isBar ? ink : paper
  })
}

function inputFloats(k: number): Float32Array<ArrayBuffer> {
  return Float32Array.from(
    inputBytes(k),
    (v) => Math.fround(Math.fround(v / 255) - Math.fround(0.1307)) / Math.fround(0.3081),
  )
}

function tensorForm(data: Float32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>, metadata: unknown): FormData {
  const form = new FormData()
  form.set('metadata', JSON.stringify(metadata))
  form.set('data', new Blob([data]))
  return form
}

function imageForm(...files: Uint8Array[]): FormData {
  const form = new FormData()
  for (const file of files) form.append('image', new Blob([new Uint8Array(file)]), 'digit.png')
  return form
}

type Body = Uint8Array<ArrayBuffer> | Float32Array<ArrayBuffer> | FormData

interface Result {
  label: string
  score: number
  predictions: { label: string; score: number }[]
}

function assertScores(result: Result, scores: number[]): void {
  for (const { label, score } of result.predictions) assert.ok(Math.abs(score - scores[Number(label)]) < 1e-5)
  const best = scores.indexOf(Math.max(...scores))
  assert.equal(result.label, String(best))
  assert.equal(result.score, result.predictions[0].score)
}

describe('the running server', () => {
  let server: RunningServer
  before(async () => {
    server = await startServer({ env: { MAX_BATCH_SIZE: '8', MAX_QUEUE: '50' } })
  })
  after(() => server.stop())

  async function post(path: string, body: Body, headers: Record<string, string> = {}) {
    return fetch(server.url + path, { method: 'POST', body, headers })
  }
  async function predict(body: Body, query = ''): Promise<Result> {
    const response = await post(`/predict${query}`, body)
    assert.equal(response.status, 200, await response.clone().text())
    return (await response.json()) as Result
  }

  test('a multipart tensor gets the scores of PyTorch', async () => {
    for (let k = 0; k < truth.scores.length; k++) {
      const result = await predict(tensorForm(inputFloats(k), { dims: [1, 28, 28] }), '?top_k=10')
      assert.equal(result.predictions.length, 10)
      assertScores(result, truth.scores[k])
    }
  })

  test('metadata may be a file part, and the dims may have the batch axis', async () => {
    const form = new FormData()
    form.set('data', new Blob([inputFloats(3)]))
    form.set('metadata', new Blob(['{"dims":[1,1,28,28]}']), 'metadata.json')
    assertScores(await predict(form), truth.scores[3])
  })

  test('a raw body needs ?dims=, and another dtype is converted', async () => {
    assertScores(await predict(inputFloats(4), '?dims=1,28,28'), truth.scores[4])
    const doubles = new Uint8Array(Float64Array.from(inputFloats(5)).buffer)
    assertScores(await predict(doubles, '?dims=1,28,28&dtype=float64'), truth.scores[5])
    const form = new FormData()
    form.set('metadata', JSON.stringify({ dims: [1, 28, 28], dtype: 'float64' }))
    form.set('data', new Blob([doubles]))
    assertScores(await predict(form), truth.scores[5])
    // larger ones are converted in a thread
    const many = Float64Array.from({ length: 20 * 784 }, (_, i) => inputFloats(Math.floor(i / 784))[i % 784])
    const response = await post('/predict?dims=20,1,28,28&dtype=float64', new Uint8Array(many.buffer))
    for (const [row, result] of ((await response.json()) as Result[]).entries())
      assertScores(result, truth.scores[row])
  })

  test('a compressed body is decompressed', async () => {
    const { gzipSync } = await import('node:zlib')
    const body = new Uint8Array(gzipSync(new Uint8Array(inputFloats(6).buffer)))
    const response = await post('/predict?dims=1,28,28', body, { 'content-encoding': 'gzip' })
    assertScores((await response.json()) as Result, truth.scores[6])
  })

  test('a batch larger than MAX_BATCH_SIZE is answered in order', async () => {
    const all = new Float32Array(30 * 784)
    for (let k = 0; k < 30; k++) all.set(inputFloats(k), k * 784)
    const results = (await predict(tensorForm(all, { dims: [30, 1, 28, 28] }))) as unknown as Result[]
    assert.equal(results.length, 30)
    results.forEach((result, k) => {
      assertScores(result, truth.scores[k])
    })
  })

  test('many clients at once get their own results', async () => {
    const numbers = Array.from({ length: 40 }, (_, i) => i % truth.scores.length)
    const results = await Promise.all(
      numbers.map((k) => predict(tensorForm(inputFloats(k), { dims: [1, 28, 28] }))),
    )
    results.forEach((result, i) => {
      assertScores(result, truth.scores[numbers[i]])
    })
  })

  test('an image is read from a form, from a raw body, and by PUT', async () => {
    assert.equal((await predict(imageForm(SAMPLE))).label, '2')
    assert.equal((await predict(new Uint8Array(SAMPLE))).label, '2')
    const put = await fetch(`${server.url}/predict`, { method: 'PUT', body: new Uint8Array(SAMPLE) })
    assert.equal(((await put.json()) as Result).label, '2')
    const other = new FormData()
    other.set('whatever', new Blob([new Uint8Array(SAMPLE)]), 'notes.txt')
    assert.equal((await predict(other)).label, '2')
    const inverted = await sharp(SAMPLE).negate({ alpha: false }).jpeg().toBuffer()
    const both = (await predict(imageForm(SAMPLE, inverted))) as unknown as Result[]
    assert.deepEqual(
      both.map(({ label }) => label),
      ['2', '2'],
    )
  })

  test('top_k is clipped to the classes', async () => {
    assert.equal((await predict(imageForm(SAMPLE), '?top_k=3')).predictions.length, 3)
    assert.equal((await predict(imageForm(SAMPLE), '?top_k=99')).predictions.length, 10)
    assert.equal((await predict(imageForm(SAMPLE))).predictions.length, 5)
  })

  test('a client that prefers plain text gets the bare label, one line per input', async () => {
    const one = await post('/predict', imageForm(SAMPLE), { accept: 'text/plain' })
    assert.match(one.headers.get('content-type')!, /^text\/plain/)
    assert.equal(await one.text(), '2')
    const two = await post('/predict', imageForm(SAMPLE, SAMPLE), {
      accept: 'text/plain, application/json;q=0.5',
    })
    assert.equal(await two.text(), '2\n2')
    const json = await post('/predict', imageForm(SAMPLE), { accept: 'text/plain;q=0.5, application/json' })
    assert.match(json.headers.get('content-type')!, /^application\/json/)
  })

  test('/test returns the bare label, whatever Accept says', async () => {
    const response = await post('/test', tensorForm(inputFloats(1), { dims: [1, 28, 28] }), {
      accept: 'application/json',
    })
    const best = truth.scores[1].indexOf(Math.max(...truth.scores[1]))
    assert.equal(await response.text(), String(best))
  })

  test('/preprocess returns the tensor of Pillow and NumPy', async () => {
    const bundled = JSON.parse(readFileSync(join(ROOT, 'models/mnist/preprocessor_config.json'), 'utf8'))
    const goldens = JSON.parse(readFileSync(join(FIXTURES, 'goldens.json'), 'utf8'))
    const files = readFileSync(join(FIXTURES, 'goldens.bin'))
    let compared = 0
    for (const { channels, config, offset, length, dims, sha256 } of goldens) {
      if (channels !== 1 || config.resample !== bundled.resample || config.do_center_crop) continue
      if (JSON.stringify(config.size) !== JSON.stringify(bundled.size)) continue
      const response = await post('/preprocess', imageForm(files.subarray(offset, offset + length)))
      assert.equal(response.headers.get('x-dims'), String(dims))
      assert.equal(response.headers.get('x-dtype'), 'float32')
      assert.equal(response.headers.get('content-type'), 'application/octet-stream')
      const tensor = Buffer.from(await response.arrayBuffer())
      assert.equal(createHash('sha256').update(tensor).digest('hex'), sha256)
      compared++
    }
    assert.ok(compared >= 5, `${compared} compared`)
  })

  test('/preprocess returns a batch of images in order, and one image as a PNG', async () => {
    const single = Buffer.from(await (await post('/preprocess', imageForm(SAMPLE))).arrayBuffer())
    const inverted = await sharp(SAMPLE).negate({ alpha: false }).png().toBuffer()
    const response = await post('/preprocess', imageForm(inverted, SAMPLE))
    assert.equal(response.headers.get('x-dims'), '2,1,28,28')
    const batch = Buffer.from(await response.arrayBuffer())
    assert.ok(batch.subarray(784 * 4).equals(single))
    assert.ok(!batch.subarray(0, 784 * 4).equals(single))

    const png = await post('/preprocess', imageForm(SAMPLE), { accept: 'image/png' })
    assert.equal(png.headers.get('content-type'), 'image/png')
    const image = sharp(await png.arrayBuffer())
    const { width, height, channels } = await image.metadata()
    assert.deepEqual([width, height, channels], [28, 28, 1])
    const data = await image.toColourspace('b-w').raw().toBuffer()
    const floats = new Float32Array(single.buffer, single.byteOffset, 784)
    data.forEach((level, i) => {
      assert.ok(Math.abs((level / 255 - 0.1307) / 0.3081 - floats[i]) < 1e-5)
    })
  })

  test('health, the model, unknown routes and methods', async () => {
    assert.equal((await fetch(`${server.url}/livez`)).status, 200)
    assert.equal((await fetch(`${server.url}/readyz`)).status, 200)
    const model = (await (await fetch(`${server.url}/model`)).json()) as {
      name: string
      labels: string[]
      input: { dims: unknown[] }
      kind: string
      sample: string
      limits: Record<string, number>
    }
    assert.equal(model.name, 'mnist')
    assert.deepEqual(model.labels, ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
    assert.deepEqual(model.input.dims, ['batch_size', 1, 28, 28])
    assert.equal(model.limits.maxBatchSize, 8)
    assert.equal(model.kind, 'single-label')
    const sample = await fetch(server.url + model.sample)
    assert.equal(sample.headers.get('content-type'), 'image/png')
    assert.ok(Buffer.from(await sample.arrayBuffer()).equals(SAMPLE))

    const nothing = await fetch(`${server.url}/nothing`)
    assert.equal(nothing.status, 404)
    assert.match(nothing.headers.get('content-type')!, /^application\/problem\+json/)
    const wrong = await fetch(`${server.url}/predict`)
    assert.equal(wrong.status, 405)
    assert.equal(wrong.headers.get('allow'), 'POST, PUT, OPTIONS')
    const options = await fetch(`${server.url}/predict`, { method: 'OPTIONS' })
    assert.equal(options.status, 204)
    assert.equal(options.headers.get('x-powered-by'), null)
  })

  test('the client prints the digit of the sample, sent as a tensor or as a file', async () => {
    const expected = { code: 0, stdout: 'Predicted digit : 2\n', stderr: '' }
    assert.deepEqual(await run(['make_request.js', '--url', server.url]), expected)
    assert.deepEqual(await run(['make_request.js', '--url', `${server.url}/predict`, '--upload']), expected)
    assert.deepEqual(await run(['make_request.js', 'models/mnist/sample.png', '--url', server.url]), expected)
  })

  test('the client reports an error in one line', async () => {
    const free = await freePort()
    for (const [args, pattern] of [
      [['README.md', '--url', server.url], /is not in a known format/],
      [['README.md', '--url', server.url, '--upload'], /responded with 415: .*is not in a known format/],
      [['no-such-file.png', '--url', server.url], /there is no file no-such-file\.png/],
      [['--url', `http://127.0.0.1:${free}`], /is not responding \(connect ECONNREFUSED/],
      [['--url', `http://localhost:${free}`], /is not responding \(connect ECONNREFUSED/],
      [['--url', `http://user:secret@localhost:${free}`], /includes credentials/],
      [['--url', 'nonsense'], /is not an http address/],
      [['--bogus'], /--bogus/],
    ] as const) {
      const { code, stdout, stderr } = await run(['make_request.js', ...args])
      assert.equal(code, 1)
      assert.equal(stdout, '')
      assert.match(stderr, pattern)
      assert.equal(stderr.trim().split('\n').length, 1, stderr)
    }
  })
})

describe('starting and stopping', () => {
  const canRunTypeScript = 'typescript' in process.features && process.features.typescript
  const link = join(mkdtempSync(join(tmpdir(), 'onnxpress-')), 'linked.js')
  symlinkSync(join(ROOT, 'server.js'), link)

  for (const [args, skip] of [
    [['server.js'], false],
    [['server'], false],
    [[link], false],
    [['server.ts'], canRunTypeScript ? false : 'this Node does not run TypeScript'],
  ] as const) {
    test(`node ${args[0] === link ? '(a link)' : args} serves, and exits with 0 on SIGTERM`, {
      skip,
    }, async () => {
      const server = await startServer({ args: [...args] })
      assert.equal((await fetch(`${server.url}/readyz`)).status, 200)
      const response = await fetch(`${server.url}/predict`, { method: 'PUT', body: new Uint8Array(SAMPLE) })
      assert.equal(((await response.json()) as Result).label, '2')
      assert.equal(await server.stop(), 0)
    })
  }

  for (const [what, env, pattern] of [
    ['a wrong setting', { PORT: 'abc' }, /^onnxpress: PORT=abc: expected a whole number/],
    ['no folder', { MODEL_DIR: 'nowhere' }, /^onnxpress: MODEL_DIR=nowhere: there is no folder/],
    [
      'a folder without a model',
      { MODEL_DIR: 'test' },
      /^onnxpress: MODEL_DIR=test: there is no model\.onnx in/,
    ],
    ['a device of another system', { DEVICE: 'dml' }, /^onnxpress: .*dml/],
    [
      'an address of another machine',
      { HOST: '192.0.2.1' },
      /^onnxpress: cannot listen on HOST=192\.0\.2\.1 .*EADDRNOTAVAIL/,
    ],
  ] as const) {
    test(`${what} stops the start with one line and code 1`, async () => {
      const { code, stderr } = await run(['server.js'], { ...env })
      assert.equal(code, 1)
      assert.match(stderr, pattern)
      assert.equal(stderr.trim().split('\n').length, 1, stderr)
    })
  }

  test('SIGTERM: an open upload is still answered, exit code 0', async () => {
    const server = await startServer()
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
    socket.setEncoding('latin1')
    const body = Buffer.alloc(784 * 4)
    const head = `POST /predict?dims=1,28,28 HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length}\r\nexpect: 100-continue`
    socket.write(`${head}\r\n\r\n`)
    assert.match((await once(socket, 'data'))[0], /^HTTP\/1\.1 100 /)

    const stopped = server.stop()
    while (!server.log.some((line) => line.includes('stopping'))) await once(server.process.stdout!, 'data')
    socket.write(body)
    assert.match((await once(socket, 'data'))[0], /^HTTP\/1\.1 200 /)
    assert.equal(await stopped, 0)
  })

  test('--describe prints how the folder is read, and exits', async () => {
    const { code, stdout } = await run(['server.js', '--describe'], { MODEL_NAME: 'digits' })
    assert.equal(code, 0)
    assert.equal(
      stdout.replace(/ +/g, ' '),
      `model digits, version 1
runs on cpu, in batches of up to 32
input pixel_values: float32 [batch_size,1,28,28]
images 1. decode, apply the EXIF orientation, convert to grey (ITU-R 601), drop alpha
 2. resize to 28x28, bilinear, as Pillow does
 3. multiply by 0.00392156862745098
 4. subtract 0.1307; divide by 0.3081
 5. planes of grey, float32
output logits: float32 [batch_size,10]
result the best label: softmax of the graph's output
labels 0, 1, 2, 3, 4, 5, 6, 7, 8, 9
`,
    )
  })

  test('an unknown flag stops the start with one line', async () => {
    const { code, stderr } = await run(['server.js', '--prot', '80'])
    assert.equal(code, 1)
    assert.match(
      stderr,
      /^onnxpress: Unknown option '--prot': expected \[MODEL_DIR \| owner\/model \| serve\] \[--file PATH\] \[--port N\] \[--describe\] \[--check\] \[--help\] \[--version\]\n$/,
    )
  })

  test('a port in use stops the start with one line and code 1', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await new Promise((resolve) => other.once('listening', resolve))
    const { port } = other.address() as { port: number }
    const { code, stderr } = await run(['server.js'], { PORT: String(port) })
    other.close()
    assert.equal(code, 1)
    assert.match(stderr, /^onnxpress: port \d+ of 127\.0\.0\.1 is in use: .* PORT=\d+ npm start\n$/)
  })
})
