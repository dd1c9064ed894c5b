import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { gzipSync } from 'node:zlib'
import { ROOT, type RunningServer, startServer } from './running_server.ts'

const MODELS = join(ROOT, 'test/fixtures/models')
const HEADER = 'inference-header-content-length'

interface Output {
  name: string
  datatype: string
  shape: number[]
  data?: unknown[]
  parameters?: { binary_data_size: number }
}

interface Answer {
  model_name: string
  model_version: string
  id?: string
  outputs: Output[]
}

/** Send JSON, and tensors' bytes behind it. */
function infer(server: RunningServer, name: string, request: unknown, ...binary: Uint8Array[]) {
  const json = Buffer.from(typeof request === 'string' ? request : JSON.stringify(request))
  const headers: Record<string, string> = binary.length ? { [HEADER]: String(json.length) } : {}
  const body = Buffer.concat([json, ...binary])
  return fetch(`${server.url}/v2/models/${name}/infer`, { method: 'POST', body, headers })
}

async function answerOf(response: Response): Promise<Answer> {
  const text = await response.text()
  assert.equal(response.status, 200, text)
  assert.match(response.headers.get('content-type')!, /^application\/json/)
  return JSON.parse(text)
}

/** A binary answer: its JSON, and each output's bytes by name. */
async function binaryAnswerOf(response: Response) {
  const body = Buffer.from(await response.arrayBuffer())
  assert.equal(response.status, 200, body.toString())
  let offset = Number(response.headers.get(HEADER))
  const json: Answer = JSON.parse(body.toString('utf8', 0, offset))
  const bytes: Record<string, Buffer> = {}
  for (const { name, parameters } of json.outputs) {
    if (!parameters) continue
    bytes[name] = body.subarray(offset, offset + parameters.binary_data_size)
    offset += parameters.binary_data_size
  }
  assert.equal(offset, body.length)
  return { json, bytes }
}

function texts(...values: string[]): Buffer {
  return Buffer.concat(
    values.flatMap((value) => {
      const length = Buffer.alloc(4)
      length.writeUInt32LE(Buffer.byteLength(value))
      return [length, Buffer.from(value)]
    }),
  )
}

/** Float32 1/8, 2/8, ... , exact in every way of writing them. */
function ramp(count: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => ((i * 7) % 23) / 8)
}

describe('an image classifier', () => {
  let server: RunningServer
  const digit = ramp(784)
  const input = { name: 'pixel_values', shape: [1, 1, 28, 28], datatype: 'FP32' }
  before(async () => {
    server = await startServer({ env: { MODEL_NAME: 'digits', MAX_QUEUE: '70' } })
  })
  after(() => server.stop())

  const get = async (path: string) => {
    const response = await fetch(server.url + path)
    return { status: response.status, body: await response.json() }
  }

  test('server, health and model describe themselves', async () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
    const extensions = ['binary_tensor_data', 'classification']
    assert.deepEqual(await get('/v2'), { status: 200, body: { name: 'onnxpress', version, extensions } })
    assert.deepEqual(await get('/v2/health/live'), { status: 200, body: { live: true } })
    assert.deepEqual(await get('/v2/health/ready'), { status: 200, body: { ready: true } })
    for (const path of ['/v2/models/digits', '/v2/models/digits/versions/1']) {
      assert.deepEqual((await get(`${path}/ready`)).body, { name: 'digits', ready: true })
      assert.deepEqual((await get(path)).body, {
        name: 'digits',
        versions: ['1'],
        platform: 'onnx_onnxv1',
        inputs: [{ name: 'pixel_values', datatype: 'FP32', shape: [-1, 1, 28, 28] }],
        outputs: [{ name: 'logits', datatype: 'FP32', shape: [-1, 10] }],
      })
    }
  })

  test('the logits are those behind the scores of /predict, in JSON, in binary and raw', async () => {
    const predicted = await fetch(`${server.url}/predict?dims=1,28,28&top_k=10`, {
      method: 'POST',
      body: digit,
    })
    const { predictions } = (await predicted.json()) as { predictions: { label: string; score: number }[] }

    const flat = await answerOf(
      await infer(server, 'digits', { inputs: [{ ...input, data: Array.from(digit) }] }),
    )
    assert.deepEqual(Object.keys(flat), ['model_name', 'model_version', 'outputs'])
    const [logits] = flat.outputs
    assert.deepEqual({ ...logits, data: [] }, { name: 'logits', datatype: 'FP32', shape: [1, 10], data: [] })
    const powers = (logits.data as number[]).map(Math.exp)
    const sum = powers.reduce((a, b) => a + b)
    for (const { label, score } of predictions) {
      assert.ok(Math.abs(powers[Number(label)] / sum - score) < 1e-6, label)
    }

    const rows = Array.from({ length: 28 }, (_, y) => Array.from(digit.subarray(y * 28, y * 28 + 28)))
    const nested = await infer(server, 'digits', {
      id: 'n',
      inputs: [{ ...input, data: [[rows]] }],
      outputs: [],
    })
    assert.deepEqual(await answerOf(nested), { ...flat, id: 'n' })

    const expected = Buffer.from(Float32Array.from(logits.data as number[]).buffer)
    const bytes = new Uint8Array(digit.buffer)
    const request = {
      id: 'b',
      inputs: [{ ...input, parameters: { binary_data_size: bytes.length } }],
      parameters: { binary_data_output: true },
    }
    const binary = await binaryAnswerOf(await infer(server, 'digits', request, bytes))
    assert.equal(binary.json.id, 'b')
    assert.deepEqual(binary.bytes.logits, expected)

    const raw = await fetch(`${server.url}/v2/models/digits/infer`, {
      method: 'POST',
      body: digit,
      headers: { [HEADER]: '0' },
    })
    assert.deepEqual((await binaryAnswerOf(raw)).bytes.logits, expected)

    const json = Buffer.from(JSON.stringify(request))
    const zipped = await fetch(`${server.url}/v2/models/digits/infer`, {
      method: 'POST',
      body: gzipSync(Buffer.concat([json, bytes])),
      headers: { [HEADER]: String(json.length), 'content-encoding': 'gzip' },
    })
    assert.deepEqual((await binaryAnswerOf(zipped)).bytes.logits, expected)
  })

  test('a batch comes back whole, though larger than the model takes at once', async () => {
    const many = ramp(60 * 784)
    const ask = async (shape: number[], data: Float32Array) => {
      const [{ data: values }] = (
        await answerOf(
          await infer(server, 'digits', { inputs: [{ ...input, shape, data: Array.from(data) }] }),
        )
      ).outputs
      return values as number[]
    }
    const together = await ask([60, 1, 28, 28], many)
    const alone = await Promise.all(
      Array.from({ length: 60 }, (_, i) => ask([1, 1, 28, 28], many.subarray(i * 784, i * 784 + 784))),
    )
    assert.equal(together.length, 600)
    for (const [index, value] of alone.flat().entries()) assert.ok(Math.abs(value - together[index]) < 1e-4)
  })

  test('classes, best first, no more than there are', async () => {
    const ask = async (classification: number) => {
      const request = {
        inputs: [{ ...input, data: Array.from(digit) }],
        outputs: [{ name: 'logits', parameters: { classification } }],
      }
      const [output] = (await answerOf(await infer(server, 'digits', request))).outputs
      assert.equal(output.datatype, 'BYTES')
      return output
    }
    const three = await ask(3)
    assert.deepEqual(three.shape, [1, 3])
    const all = await ask(99)
    assert.deepEqual(all.shape, [1, 10])
    assert.deepEqual(three.data, all.data!.slice(0, 3))
    const values = all.data!.map((text) => Number(String(text).split(':')[0]))
    assert.deepEqual(
      values,
      values.toSorted((a, b) => b - a),
    )
  })

  const fault = (change: object, ...binary: Uint8Array[]) => {
    const whole = { inputs: [{ ...input, data: Array.from(digit), ...change }] }
    return infer(server, 'digits', whole, ...binary)
  }
  const post = (body: string | Uint8Array, headers: Record<string, string> = {}) =>
    fetch(`${server.url}/v2/models/digits/infer`, { method: 'POST', body, headers })
  const binarySize = (size: number) => ({ data: undefined, parameters: { binary_data_size: size } })

  const refused: [string, () => Promise<Response>, number, RegExp][] = [
    ['no JSON', () => post('{"inputs":'), 400, /not JSON/],
    ['an empty body', () => post(''), 400, /not JSON/],
    ['NaN', () => post('{"inputs":[{"name":"pixel_values","data":[NaN]}]}'), 400, /not JSON/],
    ['a million brackets', () => post(`{"inputs":${'['.repeat(1e6)}${']'.repeat(1e6)}}`), 400, /inputs/],
    [
      'a million brackets of data',
      () =>
        post(
          `{"inputs":[{"name":"pixel_values","shape":[1,1,28,28],"datatype":"FP32","data":${'['.repeat(1e6)}${']'.repeat(1e6)}}]}`,
        ),
      400,
      /nested deeper/,
    ],
    ['a list', () => post('[]'), 400, /the request is Array, expected an object/],
    ['a list as parameters', () => fault({ parameters: [] }), 400, /parameters is Array, expected an object/],
    ['no inputs', () => post('{"inputs":[]}'), 400, /inputs/],
    ['an id that is a number', () => post('{"id":1,"inputs":[]}'), 400, /id/],
    [
      'an unknown input',
      () => fault({ name: 'image' }),
      400,
      /input image is unknown: the model has pixel_values/,
    ],
    ['another datatype', () => fault({ datatype: 'FP64' }), 400, /is of FP64, expected FP32/],
    ['an unknown datatype', () => fault({ datatype: 'FP8' }), 400, /datatype/],
    [
      'another shape',
      () => fault({ shape: [1, 1, 28, 27] }),
      400,
      /shape \[1,1,28,27\], expected \[n,1,28,28\]/,
    ],
    ['another rank', () => fault({ shape: [784] }), 400, /expected \[n,1,28,28\]/],
    ['a shape with a zero', () => fault({ shape: [0, 1, 28, 28] }), 400, /shape/],
    ['a negative shape', () => fault({ shape: [-1, 1, 28, 28] }), 400, /shape/],
    ['a shape that overflows', () => fault({ shape: [2 ** 53, 1, 28, 28] }), 400, /shape/],
    ['a huge batch', () => fault({ shape: [2 ** 49, 1, 28, 28] }), 413, /MAX_QUEUE/],
    ['more than the queue holds', () => fault({ shape: [71, 1, 28, 28] }), 413, /71 samples/],
    ['too few values', () => fault({ data: [1, 2, 3] }), 400, /784 elements, but the data has 3/],
    ['no data', () => fault({ data: undefined }), 400, /either data or/],
    ['data that is no list', () => fault({ data: 7 }), 400, /expected a list/],
    ['an empty list', () => fault({ data: [] }), 400, /empty list/],
    ['uneven depth', () => fault({ data: [[[1, 2], [3]]] }), 400, /nested as/],
    [
      'ragged rows',
      () => fault({ data: [[Array.from({ length: 28 }, (_, i) => Array(i === 5 ? 27 : 28).fill(0))]] }),
      400,
      /ragged/,
    ],
    ['text as numbers', () => fault({ data: Array(784).fill('1') }), 400, /"1" where a value of FP32/],
    ['null as a number', () => fault({ data: Array(784).fill(null) }), 400, /null where/],
    [
      'both data and bytes',
      () => fault({ parameters: { binary_data_size: 4 } }, new Uint8Array(4)),
      400,
      /either data or/,
    ],
    [
      'fewer bytes than said',
      () => fault(binarySize(3136), new Uint8Array(100)),
      400,
      /only 100 bytes follow/,
    ],
    [
      'more bytes than said',
      () => fault(binarySize(3136), new Uint8Array(3137)),
      400,
      /1 bytes follow that no/,
    ],
    [
      'another number of bytes',
      () => fault(binarySize(3132), new Uint8Array(3132)),
      400,
      /3136 bytes, but binary_data_size is 3132/,
    ],
    ['a negative number of bytes', () => fault(binarySize(-4), new Uint8Array(4)), 400, /binary_data_size/],
    [
      'a number of bytes that overflows',
      () => fault(binarySize(Number.MAX_SAFE_INTEGER), new Uint8Array(4)),
      400,
      /only 4 bytes/,
    ],
    ['JSON longer than the body', () => post('{}', { [HEADER]: '3' }), 400, /at most the 2 bytes/],
    ['a negative length of JSON', () => post('{}', { [HEADER]: '-1' }), 400, /whole number/],
    ['a length of JSON that is none', () => post('{}', { [HEADER]: '1e9' }), 400, /whole number/],
    [
      'raw bytes of another size',
      () => post(new Uint8Array(3137), { [HEADER]: '0' }),
      400,
      /3137 bytes are no sample/,
    ],
    [
      'an unknown output',
      () =>
        infer(server, 'digits', {
          inputs: [{ ...input, data: Array.from(digit) }],
          outputs: [{ name: 'x' }],
        }),
      400,
      /output x is unknown: the model has logits/,
    ],
    [
      'an output twice',
      () =>
        infer(server, 'digits', {
          inputs: [{ ...input, data: Array.from(digit) }],
          outputs: [{ name: 'logits' }, { name: 'logits' }],
        }),
      400,
      /twice/,
    ],
    [
      'an input twice',
      () => infer(server, 'digits', { inputs: [1, 2].map(() => ({ ...input, data: Array.from(digit) })) }),
      400,
      /twice/,
    ],
    [
      'no classes',
      () =>
        infer(server, 'digits', {
          inputs: [{ ...input, data: Array.from(digit) }],
          outputs: [{ name: 'logits', parameters: { classification: 0 } }],
        }),
      400,
      /classification/,
    ],
    [
      'a million inputs',
      () => infer(server, 'digits', { inputs: Array(300_000).fill({ name: 'a' }) }),
      400,
      /expected a list of up to 100/,
    ],
    [
      'a million outputs',
      () => infer(server, 'digits', { inputs: [input], outputs: Array(300_000).fill({ name: 'a' }) }),
      400,
      /expected a list of up to 100/,
    ],
    ['another model', () => infer(server, 'cats', {}), 404, /cats/],
    ['another version', () => fetch(`${server.url}/v2/models/digits/versions/9`), 404, /version 9/],
    ['an unknown route', () => fetch(`${server.url}/v2/repository/index`), 404, /there is no/],
    ['another method', () => fetch(`${server.url}/v2/models/digits/infer`), 405, /GET/],
  ]
  for (const [name, ask, status, message] of refused) {
    test(`${name} is refused in the protocol's words`, async () => {
      const response = await ask()
      const body = (await response.json()) as { error: string }
      assert.deepEqual(Object.keys(body), ['error'])
      assert.match(body.error, message)
      assert.equal(response.status, status)
      if (status === 405) assert.equal(response.headers.get('allow'), 'POST, OPTIONS')
    })
  }
})

describe('several inputs and outputs', () => {
  let server: RunningServer
  before(async () => {
    server = await startServer({ env: { MODEL_DIR: join(MODELS, 'several') } })
  })
  after(() => server.stop())

  // the model: scores x0, x1 + 0.5, x2, 2 * (x0 + x1 + x2) - 20 of ant, bee, cat, dog; twice the counts; the words
  const inputs = [
    { name: 'words', shape: [2, 1], datatype: 'BYTES', data: ['grün', ''] },
    { name: 'x', shape: [2, 3], datatype: 'FP32', data: [1, 2, 3, -4, 50, 6] },
    { name: 'counts', shape: [2, 2], datatype: 'INT64', data: [1, -2, 3, 4] },
  ]

  test('all outputs that have a batch, in the order of the graph; inputs in any', async () => {
    assert.deepEqual((await answerOf(await infer(server, 'several', { inputs }))).outputs, [
      { name: 'scores', datatype: 'FP32', shape: [2, 4], data: [1, 2.5, 3, -8, -4, 50.5, 6, 84] },
      { name: 'twice', datatype: 'INT64', shape: [2, 2], data: [2, -4, 6, 8] },
      { name: 'echo', datatype: 'BYTES', shape: [2, 1], data: ['grün', ''] },
      { name: 'positive', datatype: 'BOOL', shape: [2, 3], data: [true, true, true, false, true, true] },
    ])
  })

  test('only those asked for, some binary, with labels where the model has them', async () => {
    const outputs = [
      { name: 'echo', parameters: { binary_data: true } },
      { name: 'scores', parameters: { classification: 2 } },
      { name: 'positive', parameters: { classification: 1 } },
      { name: 'twice', parameters: { binary_data: true } },
    ]
    const { json, bytes } = await binaryAnswerOf(
      await infer(server, 'several', { inputs, outputs }, new Uint8Array(0)),
    )
    assert.deepEqual(
      json.outputs.map(({ name, shape, data }) => [name, shape, data]),
      [
        ['echo', [2, 1], undefined],
        ['scores', [2, 2], ['3:2:cat', '2.5:1:bee', '84:3:dog', '50.5:1:bee']],
        ['positive', [2, 1], ['1:0', '1:1']],
        ['twice', [2, 2], undefined],
      ],
    )
    assert.deepEqual(bytes.echo, texts('grün', ''))
    assert.deepEqual(bytes.twice, Buffer.from(BigInt64Array.of(2n, -4n, 6n, 8n).buffer))
  })

  test('64-bit integers keep every digit in JSON', async () => {
    const [words, x] = inputs
    const long = `{"inputs":[${JSON.stringify(words)},${JSON.stringify(x)},{"name":"counts","shape":[2,2],"datatype":"INT64","data":[[4611686018427387903, -4611686018427387904],\n[9007199254740993,1]]}],"outputs":[{"name":"twice"}]}`
    const text = await (await infer(server, 'several', long)).text()
    assert.match(text, /"data":\[9223372036854775806,-9223372036854775808,18014398509481986,2\]/)
  })

  test('numbers in texts are texts, and no text is a number', async () => {
    const [words, x, counts] = inputs
    const long = '1234567890123456'
    const exact = `{"id":"order ${long} x","inputs":[${JSON.stringify({ ...words, data: [`a, ${long}, b`, '\\"'] })},
      ${JSON.stringify(x)},{"name":"counts","shape":[2,2],"datatype":"INT64","data":[9007199254740993,1,2,3]}]}`
    const text = await (await infer(server, 'several', exact)).text()
    assert.match(text, /"id":"order 1234567890123456 x"/)
    assert.match(text, /"data":\[18014398509481986,2,4,6\]/)
    assert.match(text, /"a, 1234567890123456, b"/)
    for (const wrong of [
      { inputs: [{ ...words, data: [1234567890123456, 'b'] }, x, counts] },
      { inputs: [words, { ...x, data: [long, 2, 3, 4, 5, 6] }, counts] },
      { inputs: [words, x, { ...counts, data: [long, 2, 3, 4] }] },
      { inputs, id: 1234567890123456 },
    ]) {
      assert.equal((await infer(server, 'several', wrong)).status, 400, JSON.stringify(wrong))
    }
  })

  test('a long number where none is expected is refused in plain words', async () => {
    const [words, x, counts] = inputs
    const cases: [unknown, number, RegExp][] = [
      [{ inputs: [{ ...words, shape: ['LONG', 1] }, x, counts] }, 400, /shape/],
      [{ inputs: [words, x, { ...counts, shape: [2, 'LONG'] }] }, 400, /shape/],
      [{ inputs: [words, { ...x, shape: 'LONG' }, counts] }, 400, /shape is 12345678901234567/],
      [{ inputs: [{ ...words, name: 'LONG' }, x, counts] }, 400, /name is 12345678901234567/],
      [{ inputs: [{ ...words, datatype: 'LONG' }, x, counts] }, 400, /datatype is 12345678901234567/],
      [{ inputs: [{ ...words, parameters: 'LONG' }, x, counts] }, 400, /parameters is 12345678901234567/],
      [{ inputs: [{ ...words, data: 'LONG' }, x, counts] }, 400, /data/],
      [{ inputs: [{ ...words, data: ['a', 'LONG'] }, x, counts] }, 400, /has 12345678901234567 where.*BYTES/],
      [{ inputs: [{ ...words, data: [['a'], 'LONG'] }, x, counts] }, 400, /12345678901234567 where a list/],
      [
        { inputs: [words, x, { ...counts, data: [1, 2, 3, 'LONG000'] }] },
        400,
        /has 12345678901234567000 where/,
      ],
      [{ inputs: ['LONG', x, counts] }, 400, /inputs.0 is 12345678901234567/],
      [{ inputs: 'LONG' }, 400, /inputs is 12345678901234567/],
      [{ inputs, id: 'LONG' }, 400, /id is 12345678901234567/],
      [{ inputs, outputs: 'LONG' }, 400, /outputs is 12345678901234567/],
      [{ inputs, outputs: [{ name: 'LONG' }] }, 400, /name is 12345678901234567/],
      [{ inputs, parameters: { binary_data_output: 'LONG' } }, 400, /binary_data_output/],
      [{ inputs, outputs: [{ name: 'scores', parameters: { classification: 'LONG' } }] }, 400, /classif/],
      [{ inputs, outputs: [{ name: 'scores', parameters: { binary_data: 'LONG' } }] }, 400, /binary_data/],
      [
        { inputs: [{ ...words, data: undefined, parameters: { binary_data_size: 'LONG' } }, x, counts] },
        400,
        /binary_data_size/,
      ],
      // whole numbers of 16 digits that a double holds are numbers like any other
      [{ inputs: [{ ...words, shape: [1234567890123456, 1] }, x, counts] }, 413, /MAX_QUEUE/],
      [
        { inputs, outputs: [{ name: 'scores', parameters: { classification: 1234567890123456 } }] },
        200,
        /:dog/,
      ],
    ]
    for (const [request, status, said] of cases) {
      // with spaces, as Python writes it
      const json = JSON.stringify(request)
        .replace(/"LONG(0*)"/g, ' 12345678901234567$1')
        .replaceAll(/(?<=[:,])1234567890123456\b/g, ' $&')
      const response = await infer(server, 'several', json)
      const text = await response.text()
      assert.equal(response.status, status, `${json}: ${text}`)
      assert.match(text.replaceAll('12345678901234568', '12345678901234567'), said)
      assert.doesNotMatch(text, /[0-9a-f]{8}-[0-9a-f]{4}-/)
    }
  })

  test('requests that ask for different things at once each get their own', async () => {
    const asks = Array.from({ length: 60 }, async (_, i) => {
      const rows = 1 + (i % 3)
      const request = {
        inputs: [
          { name: 'x', shape: [rows, 3], datatype: 'FP32', data: Array(rows * 3).fill(i) },
          { name: 'counts', shape: [rows, 2], datatype: 'INT64', data: Array(rows * 2).fill(i) },
          { name: 'words', shape: [rows, 1], datatype: 'BYTES', data: Array(rows).fill(`word ${i}`) },
        ],
        outputs: [['scores', 'echo'], ['twice'], ['echo']][i % 3].map((name) => ({ name })),
      }
      const found: Record<string, unknown[]> = {
        scores: Array(rows)
          .fill([i, i + 0.5, i, 6 * i - 20])
          .flat(),
        twice: Array(rows * 2).fill(2 * i),
        echo: Array(rows).fill(`word ${i}`),
      }
      const { outputs } = await answerOf(await infer(server, 'several', request))
      assert.deepEqual(
        outputs.map(({ data }) => data),
        request.outputs.map(({ name }) => found[name]),
      )
    })
    await Promise.all(asks)
  })

  const refused: [string, unknown, RegExp][] = [
    [
      'a missing input',
      { inputs: inputs.slice(1) },
      /input words is missing: the model wants x, counts, words/,
    ],
    [
      'batches that differ',
      { inputs: [inputs[0], inputs[1], { ...inputs[2], shape: [1, 2], data: [1, 2] }] },
      /batches of 2, 1, 2/,
    ],
    ['classes of text', { inputs, outputs: [{ name: 'echo', parameters: { classification: 1 } }] }, /text/],
    [
      'a fraction as INT64',
      { inputs: [inputs[0], inputs[1], { ...inputs[2], data: [1, 2, 3, 0.5] }] },
      /0\.5 where/,
    ],
    [
      'numbers as BYTES',
      { inputs: [{ ...inputs[0], data: [1, 2] }, inputs[1], inputs[2]] },
      /1 where a value of BYTES/,
    ],
    ['an output without a batch', { inputs, outputs: [{ name: 'shape' }] }, /output shape is unknown/],
  ]
  for (const [name, request, message] of refused) {
    test(`${name} is refused`, async () => {
      const response = await infer(server, 'several', request)
      assert.match(((await response.json()) as { error: string }).error, message)
      assert.equal(response.status, 400)
    })
  }

  test('BYTES whose lengths lead out of the body, or are not UTF-8, are refused', async () => {
    const ask = async (bytes: Uint8Array) => {
      const words = {
        name: 'words',
        shape: [2, 1],
        datatype: 'BYTES',
        parameters: { binary_data_size: bytes.length },
      }
      const response = await infer(server, 'several', { inputs: [words, inputs[1], inputs[2]] }, bytes)
      assert.equal(response.status, 400)
      return ((await response.json()) as { error: string }).error
    }
    assert.match(await ask(Uint8Array.of(255, 255, 255, 255, 1)), /ends behind/)
    assert.match(await ask(Uint8Array.of(1, 0)), /ends behind/)
    assert.match(await ask(texts('one')), /2 elements, but the BYTES are 1/)
    assert.match(await ask(texts('one', 'two', 'three')), /2 elements, but the BYTES are 3/)
    assert.match(await ask(Buffer.concat([texts('a'), Uint8Array.of(1, 0, 0, 0, 255)])), /UTF-8/)
  })

  test('/predict names the route that takes several inputs, and bytes alone are refused', async () => {
    const predicted = await fetch(`${server.url}/predict`, { method: 'POST', body: '1' })
    assert.equal(predicted.status, 400)
    assert.match(
      ((await predicted.json()) as { detail: string }).detail,
      /3 inputs .*\/v2\/models\/several\/infer/,
    )
    const raw = await fetch(`${server.url}/v2/models/several/infer`, {
      method: 'POST',
      body: 'x',
      headers: { [HEADER]: '0' },
    })
    assert.equal(raw.status, 400)
  })
})

test('every datatype goes in and comes out as it is, in JSON and in binary', async () => {
  const server = await startServer({ env: { MODEL_DIR: join(MODELS, 'dtypes') } })
  const values: [string, string, unknown[], ArrayBufferView][] = [
    ['bool', 'BOOL', [true, false], Uint8Array.of(1, 0)],
    ['uint8', 'UINT8', [0, 255], Uint8Array.of(0, 255)],
    ['uint16', 'UINT16', [1, 65535], Uint16Array.of(1, 65535)],
    ['uint32', 'UINT32', [1, 4294967295], Uint32Array.of(1, 4294967295)],
    ['uint64', 'UINT64', [1, 9007199254740991], BigUint64Array.of(1n, 9007199254740991n)],
    ['int8', 'INT8', [-128, 127], Int8Array.of(-128, 127)],
    ['int16', 'INT16', [-32768, 32767], Int16Array.of(-32768, 32767)],
    ['int32', 'INT32', [-2147483648, 2147483647], Int32Array.of(-2147483648, 2147483647)],
    ['int64', 'INT64', [-9007199254740991, 7], BigInt64Array.of(-9007199254740991n, 7n)],
    ['float16', 'FP16', [1.5, -0.25], Uint16Array.of(0x3e00, 0xb400)],
    ['float32', 'FP32', [0.5, -1e30], Float32Array.of(0.5, -1e30)],
    ['float64', 'FP64', [0.1, -1e300], Float64Array.of(0.1, -1e300)],
  ]
  const word = ['string', 'BYTES', ['a', 'ß'], texts('a', 'ß')] as const
  const all = [...values, word]
  const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) =>
    Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength)
  const head = (name: string, datatype: string) => ({ name: `in_${name}`, datatype, shape: [1, 2] })

  const sent = await infer(
    server,
    'dtypes',
    {
      inputs: all.map(([name, datatype, , array]) => ({
        ...head(name, datatype),
        parameters: { binary_data_size: array.byteLength },
      })),
      parameters: { binary_data_output: true },
    },
    ...all.map(([, , , array]) => bytesOf(array)),
  )
  const { json, bytes } = await binaryAnswerOf(sent)
  for (const [index, [name, datatype, , array]] of all.entries()) {
    assert.equal(json.outputs[index].datatype, datatype)
    assert.deepEqual(bytes[`out_${name}`], bytesOf(array), name)
  }

  // half precision has no form in JSON on the way in
  const mixed = all.map(([name, datatype, data, array]) =>
    name === 'float16'
      ? { ...head(name, datatype), parameters: { binary_data_size: array.byteLength } }
      : { ...head(name, datatype), data },
  )
  const { outputs } = await answerOf(await infer(server, 'dtypes', { inputs: mixed }, bytesOf(values[9][3])))
  for (const [index, [name, , data]] of all.entries()) {
    const near = name === 'float32' ? (data as number[]).map(Math.fround) : data
    assert.deepEqual(outputs[index].data, near, name)
  }

  const half = mixed.map((input) =>
    input.name === 'in_float16' ? { ...head('float16', 'FP16'), data: [1, 2] } : input,
  )
  const refused = await infer(server, 'dtypes', { inputs: half })
  assert.equal(refused.status, 400)
  assert.match(await refused.text(), /FP16 has no form in JSON/)

  for (const [name, data] of [
    ['uint8', [1, 256]],
    ['int8', [-129, 0]],
    ['uint64', [-1, 0]],
    ['bool', [2, 0]],
    ['int32', [1.5, 0]],
  ] as const) {
    const wrong = mixed.map((input) => (input.name === `in_${name}` ? { ...input, data } : input))
    assert.equal((await infer(server, 'dtypes', { inputs: wrong }, bytesOf(values[9][3]))).status, 400, name)
  }
  await server.stop()
})
