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

interface InferResponse {
  model_name: string
  model_version: string
  id?: string
  outputs: Output[]
}

/** Send JSON, followed by the bytes of tensors. */
function infer(server: RunningServer, name: string, request: unknown, ...binary: Uint8Array[]) {
  const json = Buffer.from(typeof request === 'string' ? request : JSON.stringify(request))
  const headers: Record<string, string> = binary.length ? { [HEADER]: String(json.length) } : {}
  const body = Buffer.concat([json, ...binary])
  return fetch(`${server.url}/v2/models/${name}/infer`, { method: 'POST', body, headers })
}

async function jsonOf(response: Response): Promise<InferResponse> {
  const text = await response.text()
  assert.equal(response.status, 200, text)
  assert.match(response.headers.get('content-type')!, /^application\/json/)
  return JSON.parse(text)
}

/** A binary response: its JSON, and each output's bytes by name. */
async function binaryOf(response: Response) {
  const body = Buffer.from(await response.arrayBuffer())
  assert.equal(response.status, 200, body.toString())
  let offset = Number(response.headers.get(HEADER))
  const json: InferResponse = JSON.parse(body.toString('utf8', 0, offset))
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

/** Multiples of 1/8, exact in every notation. */
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

  test('server, health and model metadata', async () => {
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

  test('the logits give the scores of /predict, in JSON, in binary and raw', async () => {
    const predicted = await fetch(`${server.url}/predict?dims=1,28,28&top_k=10`, {
      method: 'POST',
      body: digit,
    })
    const { predictions } = (await predicted.json()) as { predictions: { label: string; score: number }[] }

    const flat = await jsonOf(
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
    assert.deepEqual(await jsonOf(nested), { ...flat, id: 'n' })

    const expected = Buffer.from(Float32Array.from(logits.data as number[]).buffer)
    const bytes = new Uint8Array(digit.buffer)
    const request = {
      id: 'b',
      inputs: [{ ...input, parameters: { binary_data_size: bytes.length } }],
      parameters: { binary_data_output: true },
    }
    const binary = await binaryOf(await infer(server, 'digits', request, bytes))
    assert.equal(binary.json.id, 'b')
    assert.deepEqual(binary.bytes.logits, expected)

    const raw = await fetch(`${server.url}/v2/models/digits/infer`, {
      method: 'POST',
      body: digit,
      headers: { [HEADER]: '0' },
    })
    assert.deepEqual((await binaryOf(raw)).bytes.logits, expected)

    const json = Buffer.from(JSON.stringify(request))
    const zipped = await fetch(`${server.url}/v2/models/digits/infer`, {
      method: 'POST',
      body: gzipSync(Buffer.concat([json, bytes])),
      headers: { [HEADER]: String(json.length), 'content-encoding': 'gzip' },
    })
    assert.deepEqual((await binaryOf(zipped)).bytes.logits, expected)
  })

  test("a batch larger than the model's is returned whole", async () => {
    const many = ramp(60 * 784)
    const ask = async (shape: number[], data: Float32Array) => {
      const [{ data: values }] = (
        await jsonOf(await infer(server, 'digits', { inputs: [{ ...input, shape, data: Array.from(data) }] }))
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

  test('classes, best first, clipped to their number', async () => {
    const ask = async (classification: number) => {
      const request = {
        inputs: [{ ...input, data: Array.from(digit) }],
        outputs: [{ name: 'logits', parameters: { classification } }],
      }
      const [output] = (await jsonOf(await infer(server, 'digits', request))).outputs
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
    ['invalid JSON', () => post('{"inputs":'), 400, /not JSON/],
    ['an empty body', () => post(''), 400, /not JSON/],
    ['NaN', () => post('{"inputs":[{"name":"pixel_values","data":[NaN]}]}'), 400, /not JSON/],
    ['400,000 brackets', () => post(`{"inputs":${'['.repeat(4e5)}${']'.repeat(4e5)}}`), 400, /inputs/],
    [
      '400,000 brackets of data',
      () =>
        post(
          `{"inputs":[{"name":"pixel_values","shape":[1,1,28,28],"datatype":"FP32","data":${'['.repeat(4e5)}${']'.repeat(4e5)}}]}`,
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
      /input image is unknown: the model's input is pixel_values/,
    ],
    ['another datatype', () => fault({ datatype: 'FP64' }), 400, /has the datatype FP64, expected FP32/],
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
    ['a huge batch', () => fault({ shape: [2 ** 49, 1, 28, 28] }), 400, /the data has 784/],
    [
      'more than the queue holds',
      () => fault({ shape: [71, 1, 28, 28], data: Array(71 * 784).fill(0) }),
      413,
      /71 samples .* the limit is 70 \(MAX_QUEUE\)/,
    ],
    ['too few values', () => fault({ data: [1, 2, 3] }), 400, /784 elements, but the data has 3/],
    ['no data', () => fault({ data: undefined }), 400, /either data or/],
    ['data that is not a list', () => fault({ data: 7 }), 400, /expected a list/],
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
      'fewer bytes than announced',
      () => fault(binarySize(3136), new Uint8Array(100)),
      400,
      /binary_data_size is 3136, but 100 bytes follow/,
    ],
    [
      'more bytes than announced',
      () => fault(binarySize(3136), new Uint8Array(3137)),
      400,
      /binary_data_size is 3136, but 3137 bytes follow/,
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
      /binary_data_size is 9007199254740991, but 4 bytes follow/,
    ],
    ['JSON longer than the body', () => post('{}', { [HEADER]: '3' }), 400, /at most the 2 bytes/],
    ['a negative length of JSON', () => post('{}', { [HEADER]: '-1' }), 400, /whole number/],
    ['an invalid length of JSON', () => post('{}', { [HEADER]: '1e9' }), 400, /whole number/],
    [
      'raw bytes of another size',
      () => post(new Uint8Array(3137), { [HEADER]: '0' }),
      400,
      /3137 bytes are not one sample/,
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
      /given 2 times/,
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
      '300,000 inputs',
      () => infer(server, 'digits', { inputs: Array(300_000).fill({ name: 'a' }) }),
      400,
      /expected a list of up to 100/,
    ],
    [
      '300,000 outputs',
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
    test(`${name} is refused with the protocol's error`, async () => {
      const response = await ask()
      const body = (await response.json()) as { error: string }
      assert.deepEqual(Object.keys(body), ['error'])
      assert.match(body.error, message)
      assert.equal(response.status, status)
      if (status === 405) assert.equal(response.headers.get('allow'), 'POST, OPTIONS')
    })
  }
})

describe('several outputs', () => {
  let server: RunningServer
  before(async () => {
    server = await startServer({ env: { MODEL_DIR: join(MODELS, 'outputs') } })
  })
  after(() => server.stop())

  // the model: scores x0, x1 + 0.5, x2, 2 * (x0 + x1 + x2) - 20 of ant, bee, cat, dog; twice x as whole numbers; x > 0
  const inputs = [{ name: 'x', shape: [2, 3], datatype: 'FP32', data: [1, 2, 3, -4, 50, 6] }]

  test('all numeric outputs with a batch axis, in the order of the graph', async () => {
    assert.deepEqual((await jsonOf(await infer(server, 'outputs', { inputs }))).outputs, [
      { name: 'scores', datatype: 'FP32', shape: [2, 4], data: [1, 2.5, 3, -8, -4, 50.5, 6, 84] },
      { name: 'twice', datatype: 'INT64', shape: [2, 3], data: [2, 4, 6, -8, 100, 12] },
      { name: 'positive', datatype: 'BOOL', shape: [2, 3], data: [true, true, true, false, true, true] },
    ])
  })

  test('only the requested outputs, some binary, with labels if the model has them', async () => {
    const outputs = [
      { name: 'positive', parameters: { binary_data: true, classification: 1 } },
      { name: 'scores', parameters: { classification: 2 } },
      { name: 'twice', parameters: { binary_data: true } },
    ]
    const { json, bytes } = await binaryOf(
      await infer(server, 'outputs', { inputs, outputs }, new Uint8Array(0)),
    )
    assert.deepEqual(
      json.outputs.map(({ name, datatype, shape, data }) => [name, datatype, shape, data]),
      [
        ['positive', 'BYTES', [2, 1], undefined],
        ['scores', 'BYTES', [2, 2], ['3:2:cat', '2.5:1:bee', '84:3:dog', '50.5:1:bee']],
        ['twice', 'INT64', [2, 3], undefined],
      ],
    )
    assert.deepEqual(bytes.positive, texts('1:0', '1:1'))
    assert.deepEqual(bytes.twice, Buffer.from(BigInt64Array.of(2n, 4n, 6n, -8n, 100n, 12n).buffer))
  })

  test('concurrent requests for different outputs each get their own', async () => {
    const asks = Array.from({ length: 60 }, async (_, i) => {
      const rows = 1 + (i % 3)
      const request = {
        inputs: [{ name: 'x', shape: [rows, 3], datatype: 'FP32', data: Array(rows * 3).fill(i) }],
        outputs: [['scores', 'positive'], ['twice'], ['positive']][i % 3].map((name) => ({ name })),
      }
      const found: Record<string, unknown[]> = {
        scores: Array(rows)
          .fill([i, i + 0.5, i, 6 * i - 20])
          .flat(),
        twice: Array(rows * 3).fill(2 * i),
        positive: Array(rows * 3).fill(i > 0),
      }
      const { outputs } = await jsonOf(await infer(server, 'outputs', request))
      assert.deepEqual(
        outputs.map(({ data }) => data),
        request.outputs.map(({ name }) => found[name]),
      )
    })
    await Promise.all(asks)
  })

  const refused: [string, unknown, RegExp][] = [
    ['an input given twice', { inputs: [inputs[0], inputs[0]] }, /input x is given 2 times/],
    [
      'an unknown input',
      { inputs: [{ ...inputs[0], name: 'z' }] },
      /input z is unknown: the model's input is x/,
    ],
    [
      'texts',
      { inputs: [{ ...inputs[0], datatype: 'BYTES', data: ['a', 'b', 'c', 'd', 'e', 'f'] }] },
      /input x has the datatype BYTES, expected FP32/,
    ],
    ['an output without a batch axis', { inputs, outputs: [{ name: 'shape' }] }, /output shape is unknown/],
    ['an output of text', { inputs, outputs: [{ name: 'echo' }] }, /output echo is unknown/],
  ]
  for (const [name, request, message] of refused) {
    test(`${name} is refused`, async () => {
      const response = await infer(server, 'outputs', request)
      assert.match(((await response.json()) as { error: string }).error, message)
      assert.equal(response.status, 400)
    })
  }
})

describe('64-bit integers', () => {
  let server: RunningServer
  before(async () => {
    server = await startServer({ env: { MODEL_DIR: join(MODELS, 'dtypes/int64') } })
  })
  after(() => server.stop())
  const send = (json: string) => infer(server, 'int64', json)
  const request = (data: string, rest = '') =>
    `{"inputs":[{"name":"x","shape":[2,2],"datatype":"INT64","data":${data}}]${rest}}`

  test('keep every digit in JSON', async () => {
    const data = '[[9223372036854775807, -9223372036854775808],\n[9007199254740993,1]]'
    const text = await (await send(request(data))).text()
    assert.match(text, /"data":\[9223372036854775807,-9223372036854775808,9007199254740993,1\]/)
  })

  test('numbers in strings stay strings', async () => {
    const long = '1234567890123456'
    const text = await (await send(request('[9007199254740993,1,2,3]', `,"id":"order ${long} x"`))).text()
    assert.match(text, /"id":"order 1234567890123456 x"/)
    assert.match(text, /"data":\[9007199254740993,1,2,3\]/)
    for (const wrong of [
      request(`["${long}",2,3,4]`),
      request('[1,2,3,0.5]'),
      request('[1,2,3,9223372036854775808]'),
      request('[1,2,3,4]', `,"id":${long}`),
    ]) {
      assert.equal((await send(wrong)).status, 400, wrong)
    }
  })
})

const DTYPES: [string, string, unknown[], ArrayBufferView, unknown[]?][] = [
  ['bool', 'BOOL', [true, false], Uint8Array.of(1, 0), [2, 0]],
  ['uint8', 'UINT8', [0, 255], Uint8Array.of(0, 255), [1, 256]],
  ['uint16', 'UINT16', [1, 65535], Uint16Array.of(1, 65535)],
  ['uint32', 'UINT32', [1, 4294967295], Uint32Array.of(1, 4294967295)],
  ['uint64', 'UINT64', [1, 9007199254740991], BigUint64Array.of(1n, 9007199254740991n), [-1, 0]],
  ['int8', 'INT8', [-128, 127], Int8Array.of(-128, 127), [-129, 0]],
  ['int16', 'INT16', [-32768, 32767], Int16Array.of(-32768, 32767)],
  ['int32', 'INT32', [-2147483648, 2147483647], Int32Array.of(-2147483648, 2147483647), [1.5, 0]],
  ['int64', 'INT64', [-9007199254740991, 7], BigInt64Array.of(-9007199254740991n, 7n)],
  ['float16', 'FP16', [1.5, -0.25], Uint16Array.of(0x3e00, 0xb400)],
  ['float32', 'FP32', [0.5, -1e30], Float32Array.of(0.5, -1e30)],
  ['float64', 'FP64', [0.1, -1e300], Float64Array.of(0.1, -1e300)],
]

for (const [name, datatype, data, array, wrong] of DTYPES) {
  test(`${datatype} is unchanged from input to output, in JSON and in binary`, async () => {
    const server = await startServer({ env: { MODEL_DIR: join(MODELS, 'dtypes', name) } })
    const bytes = Buffer.from(array.buffer as ArrayBuffer, array.byteOffset, array.byteLength)
    const head = { name: 'x', datatype, shape: [1, 2] }
    const binary = { ...head, parameters: { binary_data_size: bytes.length } }

    const inBinary = await infer(
      server,
      name,
      { inputs: [binary], parameters: { binary_data_output: true } },
      bytes,
    )
    const received = await binaryOf(inBinary)
    assert.equal(received.json.outputs[0].datatype, datatype)
    assert.deepEqual(received.bytes.y, bytes)

    // half precision cannot be sent in JSON
    const inJson = await infer(server, name, { inputs: [{ ...head, data }] })
    if (name === 'float16') {
      assert.equal(inJson.status, 400)
      assert.match(await inJson.text(), /FP16 cannot be sent in JSON/)
    } else {
      const expected = name === 'float32' ? (data as number[]).map(Math.fround) : data
      assert.deepEqual((await jsonOf(inJson)).outputs[0].data, expected)
    }
    if (wrong) assert.equal((await infer(server, name, { inputs: [{ ...head, data: wrong }] })).status, 400)
    await server.stop()
  })
}
