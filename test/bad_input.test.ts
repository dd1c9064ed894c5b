import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import sharp from 'sharp'
import { pngFile } from './preprocess/png_file.ts'
import { ROOT, type RunningServer, startServer } from './running_server.ts'

const SAMPLE = readFileSync(join(ROOT, 'models/mnist/sample.png'))
const MODELS = join(ROOT, 'test/fixtures/models')
const TENSOR = new Uint8Array(784 * 4)
const MB = 2 ** 20

type Body = string | Uint8Array | FormData

function form(parts: Record<string, string | Uint8Array>): FormData {
  const result = new FormData()
  for (const [name, value] of Object.entries(parts)) {
    if (typeof value === 'string') result.set(name, value)
    else result.set(name, new Blob([new Uint8Array(value)]), 'file.png')
  }
  return result
}

function metadata(dims: unknown, extra = {}): FormData {
  return form({ data: TENSOR, metadata: JSON.stringify({ dims, ...extra }) })
}

/** A 1-bit PNG of black pixels: 16,000 x 16,000 of them take 32 kB. */
function blackPng(width: number, height: number): Buffer {
  const filtered = new Uint8Array((1 + Math.ceil(width / 8)) * height)
  return pngFile({ width, height, colourType: 0, filtered }, { depth: 1 })
}

describe('bad input', () => {
  let server: RunningServer
  before(async () => {
    server = await startServer()
  })
  after(async () => {
    assert.equal(await server.stop(), 0)
  })

  async function refuse(
    body: Body,
    status: number,
    pattern: RegExp,
    query = '',
    headers: Record<string, string> = {},
  ) {
    const payload = body instanceof Uint8Array ? new Uint8Array(body) : body
    const response = await fetch(`${server.url}/predict${query}`, { method: 'POST', body: payload, headers })
    const problem = (await response.json()) as { status: number; title: string; detail: string; type: string }
    assert.equal(response.status, status, problem.detail)
    assert.match(response.headers.get('content-type')!, /^application\/problem\+json/)
    assert.equal(problem.status, status)
    assert.equal(problem.type, 'about:blank')
    assert.match(problem.detail, pattern)
  }

  const multipart = { 'content-type': 'multipart/form-data; boundary=x' }
  const part = '--x\r\ncontent-disposition: form-data; name="image"; filename="a.png"\r\n\r\nabc'
  const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg"><rect width="9" height="9"/></svg>')
  const nothing = new Uint8Array(0)
  const json = { 'content-type': 'application/json' }

  const cases: [string, () => Parameters<typeof refuse> | Promise<Parameters<typeof refuse>>][] = [
    ['an empty body', () => ['', 400, /the body is empty: send/]],
    ['a form without parts', () => [new FormData(), 400, /no file/]],
    ['a form with text only', () => [form({ comment: 'hello' }), 400, /no file/]],
    [
      'no boundary',
      () => ['x', 400, /multipart.*[Bb]oundary/, '', { 'content-type': 'multipart/form-data' }],
    ],
    ...[
      '',
      ';',
      ';;',
      '; boundary',
      '; boundary=',
      '; boundary=;',
      '; boundary=""',
      '; boundary=" "',
      '; boundary="x',
      '; boundary=x"',
      '; boundary="x\\',
      '; boundary="\\x"',
      '; boundary==x',
      '; boundary=x;',
      '; boundary=x y',
      '; boundary=x/y',
      '; boundary = x',
      '; boundary=x; boundary=x',
      '; boundary=x; boundary=y',
      '; boundary=x, multipart/form-data; boundary=x',
      "; boundary*=utf-8''x",
      '; boundary=\u00e9',
      '; boundary="\u00e9"',
      `; boundary=${'x'.repeat(71)}`,
      `; boundary=${'x'.repeat(10_000)}`,
      `; ${'a=b;'.repeat(2500)}`,
      '; =x',
      '; charset="; boundary=x',
    ].map((parameters): (typeof cases)[number] => [
      `the Content-Type multipart/form-data${parameters.slice(0, 30)}`,
      () => [
        `${part}\r\n--x--\r\n`,
        400,
        /^the Content-Type of the multipart form is .*: expected multipart\/form-data; boundary=NAME/,
        '',
        { 'content-type': `multipart/form-data${parameters}` },
      ],
    ]),
    [
      'a form of 21 text fields',
      () => [
        form(Object.fromEntries(Array.from({ length: 21 }, (_, i) => [`a${i}`, 'b']))),
        400,
        /20 text fields/,
      ],
    ],
    [
      'a wrong boundary',
      () => [`${part}\r\n--x--`, 400, /multipart/, '', { 'content-type': 'multipart/form-data; boundary=y' }],
    ],
    ['truncated multipart', () => [part, 400, /multipart.*end of form/, '', multipart]],
    ['an empty file', () => [form({ image: nothing }), 400, /"image" is empty/]],
    [
      'metadata that is not JSON',
      () => [form({ data: TENSOR, metadata: '{dims:' }), 400, /metadata is not JSON/],
    ],
    ['metadata that is a list', () => [form({ data: TENSOR, metadata: '[1]' }), 400, /dims/]],
    ['metadata that is null', () => [form({ data: TENSOR, metadata: 'null' }), 400, /dims/]],
    [
      'missing dims',
      () => [
        form({ data: TENSOR, metadata: '{}' }),
        400,
        /dims is missing in metadata: send \{"dims":\[1,28,28\]\}/,
      ],
    ],
    ['dims that are not a list', () => [metadata('1,28,28'), 400, /dims/]],
    ['negative dims', () => [metadata([1, -28, -28]), 400, /dims/]],
    ['zero dims', () => [metadata([0, 28, 28]), 400, /dims/]],
    ['huge dims', () => [metadata([9e15, 1, 28, 28]), 400, /bytes, but the data has 3136/]],
    ['dims beyond any size', () => [metadata([1e300, 1, 28, 28]), 400, /dims/]],
    ['fractional dims', () => [metadata([1, 28.5, 28]), 400, /dims/]],
    ['dims that are strings', () => [metadata(['1', '28', '28']), 400, /dims/]],
    ['too many dims', () => [metadata(new Array(100).fill(1)), 400, /dims/]],
    ['no dims at all', () => [metadata([]), 400, /do not fit/]],
    [
      'dims of another model',
      () => [metadata([3, 32, 32]), 400, /dims \[3,32,32\] do not fit.*send \[1,28,28\]/],
    ],
    [
      'a byte too few',
      () => [
        form({ data: TENSOR.subarray(1), metadata: '{"dims":[1,28,28]}' }),
        400,
        /3136 bytes, but the data has 3135/,
      ],
    ],
    ['bytes of another dtype', () => [metadata([1, 28, 28], { dtype: 'uint8' }), 400, /uint8 are 784 bytes/]],
    ['an unknown dtype', () => [metadata([1, 28, 28], { dtype: 'complex64' }), 400, /dtype.*float32/]],
    ['metadata without data', () => [form({ metadata: '{"dims":[1,28,28]}' }), 400, /no file part "data"/]],
    ['?dims= that are not numbers', () => [TENSOR, 400, /dims/, '?dims=1,x,28']],
    ['?dims= twice', () => [TENSOR, 400, /dims/, '?dims=1,28,28&dims=1']],
    [
      'a prototype in the metadata',
      () => [form({ data: TENSOR, metadata: '{"__proto__":{"dims":[1,28,28]}}' }), 400, /dims/],
    ],
    ['top_k=0', () => [form({ image: SAMPLE }), 400, /top_k/, '?top_k=0']],
    ...['topk', 'top-k', 'Top_K', 'TOP_K', 'dim', 'Dims', 'dtpe', 'd_type'].map(
      (key): (typeof cases)[number] => [
        `?${key}=`,
        () => [
          SAMPLE,
          400,
          new RegExp(`^\\?${key}= is unknown: did you mean \\?(dims|dtype|top_k)=\\?$`),
          `?${key}=1`,
        ],
      ],
    ),
    ['top_k=1.5', () => [form({ image: SAMPLE }), 400, /top_k/, '?top_k=1.5']],
    ['top_k twice', () => [form({ image: SAMPLE }), 400, /top_k/, '?top_k=1&top_k=2']],
    [
      'a text file named .png',
      () => [form({ image: Buffer.from('hello, world') }), 415, /is not in a known format/],
    ],
    ['an SVG named .png', () => [form({ image: svg }), 415, /is SVG, which is not supported/]],
    [
      'an SVG as the body',
      () => [svg, 415, /is SVG, which is not supported/, '', { 'content-type': 'image/svg+xml' }],
    ],
    [
      'a HEIC file',
      () => [form({ image: Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'latin1') }), 415, /HEIC/],
    ],
    ['a million empty dims', () => [metadata(new Array(1_000_000).fill('')), 413, /text field/]],
    ['a thousand empty dims', () => [metadata(new Array(1000).fill('')), 400, /dims is .*expected/]],
    ['dims that are one long word', () => [metadata('9'.repeat(60_000)), 400, /^dims is .{1,60}, expected/]],
    [
      'field names that ask for a huge list',
      () => [form({ 'a[200000000]': '1', 'a[x]': '1' }), 400, /nesting/],
    ],
    [
      'metadata in a nested field name',
      () => [form({ data: TENSOR, 'metadata[]': '{"dims":[1,28,28]}' }), 400, /nesting/],
    ],
    [
      'a value sent twice, the second time not a number',
      () => {
        const twice = new FormData()
        twice.append('value', '5')
        twice.append('value', 'six')
        return [twice, 400, /"six" is not a number/]
      },
    ],
    [
      'more samples than the queue holds, in half precision',
      () => [new Uint8Array(2000 * 784 * 2), 413, /2000 samples/, '?dims=2000,1,28,28&dtype=float16'],
    ],
    [
      'JSON with 400,000 brackets',
      () => ['['.repeat(400_000) + ']'.repeat(400_000), 400, /nested deeper/, '', json],
    ],
    [
      'JSON with a deep object in place of a number',
      () => [
        `{"dims":[1,28,28],"data":[${'0,'.repeat(783)}{"a":${'['.repeat(10_000)}${']'.repeat(10_000)}}]}`,
        400,
        /an object where a number/,
        '',
        json,
      ],
    ],
    [
      'JSON with 100,000 numbers beside a list',
      () => [`{"data":[[${'0,'.repeat(783)}0]${',0'.repeat(100_000)}]}`, 400, /do not fit|ragged/, '', json],
    ],
    ['JSON that is cut off', () => ['{"data":[1,', 400, /not JSON/, '', json]],
    ['JSON of no known form', () => ['{"image":1}', 400, /none of the known forms/, '', json]],
    ['instances that are not a list', () => ['{"instances":5}', 400, /instances/, '', json]],
    ['instances of two kinds', () => ['{"instances":[[1],{"b64":"AAAA"}]}', 400, /two requests/, '', json]],
    ['invalid base64', () => ['{"instances":[{"b64":"!!"}]}', 400, /base64/, '', json]],
    [
      'base64 of no image',
      () => [JSON.stringify(Buffer.from('hello').toString('base64')), 415, /not in a known format/, '', json],
    ],
    [
      'a compressed form',
      () => ['x', 415, /Content-Encoding/, '', { ...multipart, 'content-encoding': 'gzip' }],
    ],
    [
      'an unknown Content-Encoding',
      () => [TENSOR, 415, /Content-Encoding/, '?dims=1,28,28', { 'content-encoding': 'zstd' }],
    ],
    [
      'a body that is not gzip',
      () => [TENSOR, 400, /not valid gzip/, '?dims=1,28,28', { 'content-encoding': 'gzip' }],
    ],
    [
      'a truncated JPEG',
      async () => {
        const jpeg = await sharp(randomBytes(30_000), { raw: { width: 100, height: 100, channels: 3 } })
          .jpeg()
          .toBuffer()
        return [form({ image: jpeg.subarray(0, jpeg.length / 2) }), 422, /broken JPEG/]
      },
    ],
    ['a truncated PNG', () => [form({ image: SAMPLE.subarray(0, 3000) }), 422, /broken PNG/]],
    ['a PNG of the signature alone', () => [SAMPLE.subarray(0, 8), 422, /broken PNG/]],
    [
      'one broken image of two',
      () => [form({ image: SAMPLE, other: SAMPLE.subarray(0, 3000) }), 422, /broken PNG/],
    ],
    [
      'a 256-megapixel PNG',
      () => [
        form({ image: blackPng(16_000, 16_000) }),
        413,
        /256 megapixels; the limit is 50 \(MAX_PIXELS\)/,
      ],
    ],
    [
      'a PNG with a side that is too long',
      () => [form({ image: blackPng(1, 9_000_000) }), 413, /1x9000000; the longest side allowed is 65535/],
    ],
    [
      'a file over MAX_UPLOAD_MB',
      () => [form({ image: new Uint8Array(21 * MB) }), 413, /the limit is 20 MB \(MAX_UPLOAD_MB\)/],
    ],
    [
      'a body over MAX_UPLOAD_MB',
      () => [new Uint8Array(21 * MB), 413, /the limit is 20 MB \(MAX_UPLOAD_MB\)/],
    ],
    [
      '101 files',
      () => {
        const files = new FormData()
        for (let i = 0; i < 101; i++) files.append('image', new Blob([new Uint8Array(SAMPLE)]))
        return [files, 413, /more than 100 files/]
      },
    ],
  ]
  for (const [name, make] of cases) test(name, async () => refuse(...(await make())))

  for (const parameters of ['x', '"x"', 'x; charset=utf-8', 'x ']) {
    test(`a form with boundary=${parameters} is read`, async () => {
      const head = 'content-disposition: form-data; name="image"; filename="a.png"'
      const body = Buffer.concat([
        Buffer.from(`--x\r\n${head}\r\n\r\n`),
        SAMPLE,
        Buffer.from('\r\n--x--\r\n'),
      ])
      const headers = { 'content-type': `Multipart/Form-Data;boundary=${parameters}` }
      const response = await fetch(`${server.url}/predict`, { method: 'POST', body, headers })
      assert.equal(response.status, 200, await response.text())
    })
  }

  test('a mistyped query key is refused by every route that takes inputs; other keys are ignored', async () => {
    const json = JSON.stringify({ instances: [{ b64: SAMPLE.toString('base64') }] })
    const headers = { 'content-type': 'application/json' }
    for (const path of [
      '/predict',
      '/test',
      '/preprocess',
      '/predictions/mnist',
      '/invocations',
      '/v1/models/mnist:predict',
    ]) {
      const ask = async (query: string) => {
        const response = await fetch(server.url + path + query, { method: 'POST', body: json, headers })
        return { status: response.status, text: await response.text() }
      }
      const near = await ask('?topk=3')
      assert.equal(near.status, 400, path)
      assert.match(near.text, /\?topk= is unknown: did you mean \?top_k=\?/)
      for (const query of ['?key=abc&k=3', '?v=1', '?_=1', '?utm_source=x', '?constructor=1'])
        assert.equal((await ask(query)).status, 200, path + query)
    }
  })

  test('a 1x1 image is classified', async () => {
    const pixel = await sharp({ create: { width: 1, height: 1, channels: 3, background: '#888' } })
      .png()
      .toBuffer()
    const response = await fetch(`${server.url}/predict`, { method: 'POST', body: form({ image: pixel }) })
    assert.equal(response.status, 200)
  })

  test('NaN in the output becomes null, and a score that is NaN comes last', async () => {
    const nan = (size: number) => new Float32Array(size).fill(Number.NaN)
    const post = async (url: string, dims: string, body: Float32Array<ArrayBuffer>) =>
      (await fetch(`${url}/predict?dims=${dims}`, { method: 'POST', body })).json()
    const digits = await post(server.url, '1,28,28', nan(784))
    const scores = (digits as { predictions: { score: null }[] }).predictions.map(({ score }) => score)
    assert.deepEqual(scores, [null, null, null, null, null])

    const linear = await startServer({ env: { MODEL_DIR: join(MODELS, 'linear') } })
    assert.deepEqual(await post(linear.url, '1,1', nan(1)), { input: null, prediction: null })
    await linear.stop()
  })

  test('100 MB are refused before they are sent, with Expect: 100-continue', async () => {
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
    socket.write(
      `POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${100 * MB}\r\nexpect: 100-continue\r\n\r\n`,
    )
    const [response] = await once(socket, 'data')
    assert.match(String(response), /^HTTP\/1\.1 413 /)
    socket.destroy()
  })

  test('a body without a length is refused at the limit', async () => {
    const megabyte = new Uint8Array(MB)
    let sent = 0
    const body = new ReadableStream({
      pull: (controller) => (sent++ < 100 ? controller.enqueue(megabyte) : controller.close()),
    })
    const response = await fetch(`${server.url}/predict`, {
      method: 'POST',
      body,
      duplex: 'half',
    } as RequestInit)
    assert.equal(response.status, 413)
  })

  test('a form without a length is cut off at the limit, including text fields and preamble', async () => {
    const field = `--x\r\ncontent-disposition: form-data; name="a"\r\n\r\n${'a'.repeat(900_000)}\r\n`
    for (const piece of [field, 'preamble\r\n'.repeat(100_000)]) {
      let sent = 0
      const body = new ReadableStream({
        pull: (controller) => (sent++ < 40 ? controller.enqueue(Buffer.from(piece)) : controller.close()),
      })
      const init = { method: 'POST', body, duplex: 'half', headers: multipart } as RequestInit
      const response = await fetch(`${server.url}/predict`, init)
      assert.equal(response.status, 413, await response.text())
    }
  })

  test('a connection that sends half a header does not delay the shutdown', async () => {
    const own = await startServer({ env: { SHUTDOWN_MS: '3600000' } })
    const socket = connect(Number(new URL(own.url).port), '127.0.0.1')
    await once(socket, 'connect')
    socket.on('error', () => {}).write('POST /predict HTTP/1.1\r\nhost:')
    assert.equal(await own.stop(), 0)
  })

  test('a client that disconnects during its upload affects no other', async () => {
    const socket = connect(Number(new URL(server.url).port), '127.0.0.1')
    await once(socket, 'connect')
    socket.write(
      `POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: multipart/form-data; boundary=x\r\ncontent-length: 9999\r\n\r\n${part}`,
    )
    socket.destroy()
    const response = await fetch(`${server.url}/predict`, { method: 'POST', body: form({ image: SAMPLE }) })
    assert.equal(response.status, 200)
  })

  test('the log has no errors afterwards', async () => {
    const ended = once(server.process.stdout!, 'close')
    await server.stop()
    await ended
    assert.deepEqual(
      server.log.filter((line) => JSON.parse(line).level >= 50),
      [],
    )
  })
})
