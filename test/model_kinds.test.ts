import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import sharp from 'sharp'
import { allocate, type Dtype, toBytes } from '../lib/inference/tensor.ts'
import { findLabels, inClassOrder, prefixOf } from '../lib/model/labels.ts'
import { readModelFolder } from '../lib/model/model_folder.ts'
import { KNOWN_KEYS } from '../preprocess/index.ts'
import { ROOT, type RunningServer, run, startServer } from './running_server.ts'

const FIXTURES = join(ROOT, 'test/fixtures')
const MODELS = join(FIXTURES, 'models')

/** NumPy's results, see fixtures/make_models.py: numbers of a regression, or the best [class, score]. */
interface Truth {
  shape: number[]
  dtype: Dtype
  output: (number | [number, number])[][]
}
const truths: Record<string, Truth> = JSON.parse(readFileSync(join(FIXTURES, 'truths.json'), 'utf8'))

/** `ramp` of make_models.py. */
function ramp(shape: number[]): number[] {
  return Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => ((i * 7) % 23) / 8)
}

function rampTensor(shape: number[], dtype: Dtype): Uint8Array<ArrayBuffer> {
  const values = ramp(shape)
  const data = allocate(dtype === 'float16' ? 'float32' : dtype, values.length)
  values.forEach((value, i) => {
    data[i] =
      data instanceof BigInt64Array || data instanceof BigUint64Array ? BigInt(Math.trunc(value)) : value
  })
  return new Uint8Array(toBytes(data))
}

function nest(values: number[], shape: number[]): unknown {
  if (shape.length <= 1) return values
  const size = values.length / shape[0]
  return Array.from({ length: shape[0] }, (_, i) =>
    nest(values.slice(i * size, (i + 1) * size), shape.slice(1)),
  )
}

interface Result {
  input?: number
  label?: string
  score?: number
  prediction?: number | number[]
  predictions?: { label: string; score: number }[]
}

async function post(
  server: RunningServer,
  path: string,
  body: string | Uint8Array<ArrayBuffer> | FormData,
  type?: string,
) {
  const headers: Record<string, string> = type ? { 'content-type': type } : {}
  const response = await fetch(server.url + path, { method: 'POST', body, headers })
  const text = await response.text()
  assert.equal(response.status, 200, text)
  return JSON.parse(text)
}

function assertClose(actual: number, expected: number): void {
  assert.ok(
    Math.abs(actual - expected) <= 1e-5 * Math.max(1, Math.abs(expected)),
    `${actual} is not ${expected}`,
  )
}

function assertTruth(name: string, results: Result[], labels: string[]): void {
  const { output } = truths[name]
  // float16 has 11 bits of precision
  const tolerance = name === 'half' ? 2e-3 : 1e-5
  results.forEach((result, row) => {
    const expected = output[row]
    if (result.predictions === undefined) {
      const numbers = [result.prediction].flat() as number[]
      assert.equal(numbers.length, expected.length)
      numbers.forEach((number, i) => {
        assertClose(number, expected[i] as number)
      })
      return
    }
    const best = expected as [number, number][]
    const shown =
      name === 'faces' ? best.filter(([, score]) => score > 0.3) : best.slice(0, result.predictions.length)
    assert.deepEqual(
      result.predictions.map(({ label }) => label),
      shown.map(([index]) => labels[index]),
    )
    result.predictions.forEach(({ score }, i) => {
      assert.ok(Math.abs(score - shown[i][1]) < tolerance, `${score} is not ${shown[i][1]}`)
    })
  })
}

describe("every kind of model gives NumPy's results", () => {
  for (const [name, { shape, dtype }] of Object.entries(truths)) {
    test(name, async () => {
      const server = await startServer({ env: { MODEL_DIR: join(MODELS, name) } })
      const { labels } = (await (await fetch(`${server.url}/model`)).json()) as { labels: string[] }
      const count = shape[0]
      const asList = (result: Result | Result[]) => [result].flat()

      const given = dtype === 'float16' ? 'float32' : dtype
      const bytes = rampTensor(shape, dtype)
      const form = new FormData()
      form.set('metadata', JSON.stringify({ dims: shape, dtype: given }))
      form.set('data', new Blob([bytes]))
      assertTruth(name, asList(await post(server, '/predict', form)), labels)
      assertTruth(name, asList(await post(server, `/predict?dims=${shape}&dtype=${given}`, bytes)), labels)

      const isWhole = ['uint8', 'int64'].includes(dtype)
      const values = ramp(shape).map((value) => (isWhole ? Math.trunc(value) : value))
      const json = 'application/json'
      const nested = nest(values, shape)
      for (const body of [{ data: nested }, { data: values, dims: shape }, { instances: nested }, nested]) {
        assertTruth(name, asList(await post(server, '/predict', JSON.stringify(body), json)), labels)
      }

      // a sample without its batch axis is the same as a batch of one
      const size = bytes.length / count
      if (shape.length > 1) {
        const query = `dims=${shape.slice(1)}&dtype=${given}`
        assertTruth(name, [await post(server, `/predict?${query}`, bytes.slice(0, size))], labels)
      }
      assert.equal(await server.stop(), 0)
    })
  }
})

describe('one number', () => {
  for (const name of ['linear', 'number']) {
    test(`${name}: value=5, a text body, JSON, and the input is echoed`, async () => {
      const server = await startServer({ env: { MODEL_DIR: join(MODELS, name) } })
      const expected = name === 'linear' ? (x: number) => 2 * x - 1 : (x: number) => 2 * x
      const form = 'application/x-www-form-urlencoded'
      assert.deepEqual(await post(server, '/predict', 'value=5', form), { input: 5, prediction: expected(5) })
      const multipart = new FormData()
      multipart.set('value', '-2.5')
      assert.deepEqual(await post(server, '/predict', multipart), { input: -2.5, prediction: expected(-2.5) })
      assert.deepEqual(await post(server, '/predict', ' 5.0\n', 'text/plain'), {
        input: 5,
        prediction: expected(5),
      })
      const tenth = await post(server, '/predict', '0.1', 'text/plain')
      assert.equal(tenth.input, 0.1)
      assertClose(tenth.prediction, expected(0.1))
      const both = await post(server, '/predict', '{"instances":[[1],[2]]}', 'application/json').catch(
        () => undefined,
      )
      const flat = await post(server, '/predict', '{"instances":[1,2]}', 'application/json')
      assert.deepEqual(
        flat,
        [1, 2].map((input) => ({ input, prediction: expected(input) })),
      )
      if (name === 'linear') assert.deepEqual(both, flat)
      const text = await fetch(`${server.url}/predict`, {
        method: 'POST',
        body: 'value=5',
        headers: { accept: 'text/plain', 'content-type': form },
      })
      assert.equal(await text.text(), String(expected(5)))

      for (const [body, type] of [
        ['value=five', form],
        ['value=', form],
        ['five', 'text/plain'],
        ['1e999', 'text/plain'],
        ['[1,[2]]', 'application/json'],
      ]) {
        const response = await fetch(`${server.url}/predict`, {
          method: 'POST',
          body,
          headers: { 'content-type': type },
        })
        assert.equal(response.status, 400, body)
      }
      const image = await sharp({ create: { width: 9, height: 9, channels: 3, background: '#123' } })
        .png()
        .toBuffer()
      const refused = await fetch(`${server.url}/predict`, { method: 'POST', body: new Uint8Array(image) })
      assert.equal(refused.status, 415)
      assert.match(((await refused.json()) as { detail: string }).detail, /takes no images/)
      await server.stop()
    })
  }
})

describe('images', () => {
  const photo = (width: number, height: number) =>
    sharp({ create: { width, height, channels: 3, background: { r: 200, g: 100, b: 40 } } })
      .jpeg()
      .toBuffer()
      .then((bytes) => new Uint8Array(bytes))

  test('base64 as a JSON string, as a data URL, and as instances', async () => {
    const server = await startServer({ env: { MODEL_DIR: join(MODELS, 'faces') } })
    const file = await photo(60, 40)
    const expected = await post(server, '/predict', file)
    const b64 = Buffer.from(file).toString('base64')
    const json = 'application/json'
    assert.deepEqual(await post(server, '/predict', JSON.stringify(b64), json), expected)
    assert.deepEqual(
      await post(server, '/predict', JSON.stringify(`data:image/jpeg;base64,${b64}`), json),
      expected,
    )
    const two = await post(server, '/predict', JSON.stringify({ instances: [{ b64 }, { b64 }] }), json)
    assert.deepEqual(two, [expected, expected])
    await server.stop()
  })

  test('an integer model gets levels in its own dtype, one sample at a time', async () => {
    const server = await startServer({ env: { MODEL_DIR: join(MODELS, 'pixels') } })
    const response = await fetch(`${server.url}/preprocess`, { method: 'POST', body: await photo(8, 8) })
    assert.equal(response.headers.get('x-dtype'), 'uint8')
    assert.equal(response.headers.get('x-dims'), '1,3,8,8')
    assert.equal((await response.arrayBuffer()).byteLength, 192)
    const form = new FormData()
    for (const side of [8, 9, 10]) form.append('image', new Blob([await photo(side, side)]))
    assert.equal((await post(server, '/predict', form)).length, 3)
    await server.stop()
  })

  test('images that keep their ratio may have any size, even in one request', async () => {
    const server = await startServer({ env: { MODEL_DIR: join(MODELS, 'any_size') } })
    const files = await Promise.all([photo(32, 20), photo(20, 32), photo(16, 16)])
    const single = []
    for (const file of files) single.push(await post(server, '/predict', file))
    const form = new FormData()
    for (const file of files) form.append('image', new Blob([file]))
    assert.deepEqual(await post(server, '/predict', form), single)
    const together = await fetch(`${server.url}/preprocess`, { method: 'POST', body: form })
    assert.equal(together.status, 400)

    const thin = await sharp({ create: { width: 1, height: 16_000, channels: 3, background: '#000' } })
      .png()
      .toBuffer()
    const wide = await fetch(`${server.url}/predict`, { method: 'POST', body: new Uint8Array(thin) })
    assert.equal(wide.status, 200)
    await server.stop()
    const small = await startServer({ env: { MODEL_DIR: join(MODELS, 'any_size'), MAX_PIXELS: '20000' } })
    const refused = await fetch(`${small.url}/predict`, { method: 'POST', body: new Uint8Array(thin) })
    assert.equal(refused.status, 413)
    await small.stop()
  })
})

test('413: more scores, or more predictions, than a response may have', async (t) => {
  const server = await startServer({ env: { MODEL_DIR: join(MODELS, 'many') } })
  t.after(server.stop)
  const ask = async (samples: number, topK: number) => {
    const path = `${server.url}/predict?dims=${samples},2&top_k=${topK}`
    const response = await fetch(path, { method: 'POST', body: new Float32Array(2 * samples) })
    return { status: response.status, text: await response.text() }
  }
  assert.equal((await ask(200, 250)).status, 200)
  const predictions = await ask(200, 251)
  assert.equal(predictions.status, 413)
  assert.match(predictions.text, /are 50200 predictions; the limit is 50000/)
  const scores = await ask(201, 1)
  assert.equal(scores.status, 413)
  assert.match(scores.text, /201 samples of 5000 classes are 1005000 scores; the limit is 1000000/)
})

test('the text of a multi-label result is its labels, joined by commas', async (t) => {
  const server = await startServer({ env: { MODEL_DIR: join(MODELS, 'faces') } })
  t.after(server.stop)
  const body = new Uint8Array(
    await sharp({ create: { width: 64, height: 64, channels: 3, background: '#a86' } })
      .png()
      .toBuffer(),
  )
  const ask = (accept: string) =>
    fetch(`${server.url}/predict`, { method: 'POST', body, headers: { accept } })
  const { predictions } = (await (await ask('application/json')).json()) as {
    predictions: { label: string }[]
  }
  assert.ok(predictions.length > 1)
  assert.equal(await (await ask('text/plain')).text(), predictions.map(({ label }) => label).join(', '))
})

test('on a CPU a slow model gets smaller batches than a fast one, but never more than MAX_BATCH_SIZE', async () => {
  const largest = async (model: string, env = {}) => {
    const server = await startServer({ env: { MODEL_DIR: join(MODELS, model), ...env } })
    const response = await fetch(`${server.url}/model`)
    const { limits } = (await response.json()) as { limits: { maxBatchSize: number } }
    await server.stop()
    return limits.maxBatchSize
  }
  assert.equal(await largest('linear'), 32)
  const slow = await largest('slow')
  assert.ok(slow >= 8 && slow < 32, `${slow}`)
  assert.equal(await largest('slow', { MAX_BATCH_SIZE: '5' }), 5)
})

test('concurrent requests in any mix of forms get the same results as one by one', async () => {
  const server = await startServer({ env: { MODEL_DIR: join(MODELS, 'any_size'), MAX_BATCH_SIZE: '4' } })
  const file = new Uint8Array(
    await sharp({ create: { width: 40, height: 30, channels: 3, background: '#a5f' } })
      .png()
      .toBuffer(),
  )
  const image = await post(server, '/predict', file)
  const side = fc.integer({ min: 1, max: 4 })
  const request = fc.oneof(
    fc.record({
      kind: fc.constant('tensor' as const),
      n: fc.integer({ min: 1, max: 9 }),
      height: side,
      width: side,
      seed: fc.nat(255),
    }),
    fc.record({ kind: fc.constant('images' as const), n: fc.integer({ min: 1, max: 3 }) }),
  )
  const samples = (n: number, height: number, width: number, seed: number) =>
    Array.from({ length: n }, (_, row) =>
      Float32Array.from({ length: 3 * height * width }, (_, i) => ((i * seed + row * 31) % 17) / 8),
    )
  const send = (data: Float32Array[], height: number, width: number) => {
    const all = new Float32Array(data.length * 3 * height * width)
    data.forEach((sample, row) => {
      all.set(sample, row * sample.length)
    })
    return post(server, `/predict?dims=${[data.length, 3, height, width]}`, new Uint8Array(all.buffer))
  }
  await fc.assert(
    fc.asyncProperty(fc.array(request, { minLength: 1, maxLength: 12 }), async (mix) => {
      const results = await Promise.all(
        mix.map((item) => {
          if (item.kind === 'tensor')
            return send(samples(item.n, item.height, item.width, item.seed), item.height, item.width)
          const form = new FormData()
          for (let i = 0; i < item.n; i++) form.append('image', new Blob([file]))
          return post(server, '/predict', form)
        }),
      )
      for (const [index, item] of mix.entries()) {
        const received = [results[index]].flat()
        assert.equal(received.length, item.n)
        if (item.kind === 'images') {
          for (const result of received) assert.deepEqual(result, image)
          continue
        }
        const one = samples(item.n, item.height, item.width, item.seed)
        for (const [row, result] of received.entries()) {
          const alone = await send([one[row]], item.height, item.width)
          assert.equal(result.label, alone.label)
          assertClose(result.score, alone.score)
        }
      }
    }),
    { numRuns: 25 },
  )
  assert.equal(await server.stop(), 0)
})

describe('model folders', () => {
  const scratch = mkdtempSync(join(tmpdir(), 'onnxpress-folders-'))
  let number = 0

  /** A copy of a fixture with other files: an object is merged into the JSON, a string replaces the file. */
  function folder(base: string, files: Record<string, object | string>): string {
    const dir = join(scratch, String(number++))
    cpSync(join(MODELS, base), dir, { recursive: true })
    for (const [name, content] of Object.entries(files)) {
      let text = content
      if (typeof text !== 'string') {
        let before = {}
        try {
          before = JSON.parse(readFileSync(join(dir, name), 'utf8'))
        } catch {} // there was none
        text = JSON.stringify({ ...before, ...text })
      }
      writeFileSync(join(dir, name), text)
    }
    return dir
  }
  const empty = join(scratch, 'empty')
  mkdirSync(empty)

  const broken: [string, () => string, RegExp][] = [
    ['no folder', () => join(scratch, 'nowhere'), /there is no folder .*nowhere/],
    ['a file', () => join(MODELS, 'linear/model.onnx'), /is a file: name the folder/],
    ['no model.onnx', () => empty, /there is no model\.onnx/],
    [
      'broken ONNX',
      () => folder('linear', { 'model.onnx': 'not a graph' }),
      /model\.onnx cannot be loaded on cpu/,
    ],
    ['an empty model.onnx', () => folder('linear', { 'model.onnx': '' }), /model\.onnx is empty: export or/],
    [
      'a pointer to a graph',
      () => folder('linear', { 'model.onnx': 'version https://git-lfs.github.com/spec/v1\noid sha256:0\n' }),
      /model\.onnx is a Git LFS pointer, not the model: run git lfs pull/,
    ],
    [
      'two graphs of other names',
      () => {
        const dir = folder('linear', { 'b.onnx': 'x' })
        renameSync(join(dir, 'model.onnx'), join(dir, 'a.onnx'))
        return dir
      },
      /there is no model\.onnx in \S+, choose one with MODEL_FILE or --file: a\.onnx, b\.onnx/,
    ],
    ['an operator the runtime lacks', () => join(MODELS, 'unknown_operator'), /cannot be loaded.*Shine/],
    [
      'an unsupported rank',
      () => join(MODELS, 'rank_three'),
      /input x is \[batch,5,5\], of rank 3: expected/,
    ],
    [
      'JSON with a syntax error',
      () => folder('fashion', { 'config.json': '{\n"a": 1,\n"b": }\n' }),
      /config\.json, line 3: not valid JSON/,
    ],
    [
      'JSON that ends too early',
      () => folder('fashion', { 'preprocessor_config.json': '{"size": ' }),
      /preprocessor_config\.json, line 1: not valid JSON/,
    ],
    [
      'JSON that is a list',
      () => folder('fashion', { 'config.json': '[]' }),
      /config\.json: expected a JSON object/,
    ],
    [
      'an unknown problem_type',
      () => folder('linear', { 'config.json': { problem_type: 'guess' } }),
      /problem_type is "guess", expected single_label_classification/,
    ],
    [
      'an unknown function_to_apply',
      () => folder('faces', { 'config.json': { function_to_apply: 'relu' } }),
      /function_to_apply is "relu", expected softmax, sigmoid, none/,
    ],
    [
      'an invalid threshold',
      () => folder('faces', { 'config.json': { threshold: '0.3' } }),
      /threshold is "0\.3", expected a number from 0 to 1/,
    ],
    [
      'too few labels',
      () => folder('fashion', { 'config.json': { id2label: { 0: 'a', 1: 'b' } } }),
      /id2label has 2 labels, but the model's output has 10 classes/,
    ],
    [
      'labels with a hole',
      () => folder('four', { 'config.json': { label_names: null, id2label: { 0: 'a', 1: 'b', 3: 'c' } } }),
      /id2label has no label for class 2/,
    ],
    [
      'a mean of three for one channel',
      () => folder('fashion', { 'preprocessor_config.json': { image_mean: [0.5, 0.5, 0.5] } }),
      /channel axis says 1 channels, but image_mean .* says 3/,
    ],
    [
      'a std of two',
      () => folder('faces', { 'preprocessor_config.json': { image_std: [0.5, 0.5] } }),
      /image_std is \[0\.5,0\.5\], expected a number or a list of 3/,
    ],
    [
      'a mean that is a word',
      () => folder('faces', { 'preprocessor_config.json': { image_mean: 'half' } }),
      /image_mean is "half"/,
    ],
    [
      'num_channels that contradicts the graph',
      () => folder('faces', { 'config.json': { num_channels: 1 } }),
      /channel axis says 3 channels, but num_channels .* says 1/,
    ],
    [
      'a size that the graph does not take',
      () => folder('faces', { 'preprocessor_config.json': { size: 32 } }),
      /makes images of 32x32, but the model's input x is 16x24/,
    ],
    [
      'an incomplete size',
      () => folder('faces', { 'preprocessor_config.json': { size: { width: 16 } } }),
      /size is .*expected/,
    ],
    [
      'a size of -1',
      () => folder('faces', { 'preprocessor_config.json': { size: -1 } }),
      /size.width is -1, expected a whole number/,
    ],
    [
      'an unknown resample',
      () => folder('faces', { 'preprocessor_config.json': { resample: 9 } }),
      /resample is 9, expected nearest, .* or a whole number, 0 to 5/,
    ],
    [
      'an output that the graph does not have',
      () => folder('outputs', { 'config.json': { output: 'score' } }),
      /output is "score", expected scores, twice, positive/,
    ],
    [
      'a crop without its size',
      () =>
        folder('faces', {
          'preprocessor_config.json': { image_processor_type: 'SiglipImageProcessor', do_center_crop: true },
        }),
      /crop_size is missing/,
    ],
    [
      'a shortest edge for a class that takes a height and a width',
      () =>
        folder('faces', {
          'preprocessor_config.json': {
            image_processor_type: 'RTDetrImageProcessor',
            size: { shortest_edge: 48 },
          },
        }),
      /size is \{"shortest_edge":48\}, expected \{"height": n, "width": n\}/,
    ],
    [
      'a class name that is an object',
      () => folder('faces', { 'preprocessor_config.json': { image_processor_type: { toString: 1 } } }),
      /image_processor_type is \{"toString":1\}/,
    ],
    [
      'a resample named like a JavaScript property',
      () => folder('faces', { 'preprocessor_config.json': { resample: 'length' } }),
      /resample is "length"/,
    ],
    [
      'a switch that is a word',
      () => folder('faces', { 'preprocessor_config.json': { do_resize: 'no' } }),
      /do_resize is "no", expected true or false/,
    ],
    ['a std of 0', () => folder('faces', { 'preprocessor_config.json': { image_std: 0 } }), /image_std is 0/],
    [
      'labels that are a word',
      () => folder('fashion', { 'config.json': { id2label: 'cat' } }),
      /id2label is "cat"/,
    ],
    [
      'a version that is an object',
      () => folder('fashion', { 'config.json': { version: {} } }),
      /version is \{\}/,
    ],
    [
      'images for a model of features',
      () => folder('four', { 'preprocessor_config.json': { size: 8 } }),
      /is for images, but the model's input x is \[4,5\]/,
    ],
    [
      'a processor that is not served',
      () =>
        folder('no_preprocessor', {
          'preprocessor_config.json': { image_processor_type: 'FancyImageProcessor' },
        }),
      /the image processor Fancy is not supported: set image_processor_type to .*: Beit, .*, ViT\n$/,
    ],
    [
      'an unknown crop_mode of timm',
      () => folder('no_preprocessor', { 'config.json': { pretrained_cfg: { crop_mode: 'zoom' } } }),
      /crop_mode is "zoom", expected center, squash, border/,
    ],
  ]
  for (const [name, make, pattern] of broken) {
    test(`${name} stops the start with one line`, async () => {
      const { code, stderr, stdout } = await run(['server.js'], { MODEL_DIR: make() })
      assert.equal(code, 1)
      assert.match(stderr, pattern)
      assert.match(stderr, /^onnxpress: [^\n]+\n$/)
      assert.equal(stdout, '')
    })
  }

  const unusual: [string, () => string, RegExp][] = [
    [
      'no preprocessor file',
      () => join(MODELS, 'no_preprocessor'),
      /no preprocessor_config\.json: images are resized to 30x20, bilinear/,
    ],
    [
      'a softmax of several operators',
      () => join(MODELS, 'softmax_in_parts'),
      /softmax has already been applied/,
    ],
    [
      'several outputs, none with a known name',
      () => folder('outputs', { 'config.json': '{}' }),
      /several outputs \(scores, twice, positive\): scores is used as the scores/,
    ],
    [
      'a function that is applied twice',
      () => folder('softmaxed', { 'config.json': { function_to_apply: 'softmax' } }),
      /ends in Softmax, and .* sets function_to_apply to softmax: both are applied/,
    ],
    [
      'two lists of labels',
      () => folder('four', { 'config.json': { labels: ['c', 'd', 'e'] } }),
      /label_names has no effect beside labels/,
    ],
    [
      'a threshold for one label',
      () => folder('four', { 'config.json': { threshold: 0.4 } }),
      /threshold has no effect on a single-label model/,
    ],
    [
      'a key of config.json that is mistyped',
      () => folder('four', { 'config.json': { treshold: 0.4 } }),
      /treshold has no effect: did you mean threshold\?/,
    ],
    ['one output and no problem_type', () => join(MODELS, 'number'), /served as a regression/],
    [
      'a ratio that is kept for a graph of one size',
      () =>
        folder('faces', {
          'preprocessor_config.json': { size: { shortest_edge: 16 } },
        }),
      /keeps the aspect ratio of images, but the model's input x is 16x24/,
    ],
    ['a mean of softmaxes', () => join(MODELS, 'ensemble'), /softmax has already been applied/],
    [
      'scores of several heads',
      () => join(MODELS, 'heads'),
      /lies between 0 and 1, and softmax is applied to it; .* set function_to_apply to \\"none\\"/,
    ],
    ['a batch axis that is not free', () => join(MODELS, 'one_by_one'), /one sample at a time/],
  ]
  for (const [name, make, pattern] of unusual) {
    test(`${name}: one warning, and the model is served`, async () => {
      const server = await startServer({ env: { MODEL_DIR: make() } })
      const warnings = server.log.map((line) => JSON.parse(line)).filter(({ level }) => level === 40)
      assert.equal(warnings.length, 1, JSON.stringify(warnings))
      assert.match(JSON.stringify(warnings[0].msg), pattern)
      await server.stop()
    })
  }

  test('a graph that ends in Softmax or LogSoftmax causes no warning', async () => {
    for (const name of ['softmaxed', 'log_softmaxed']) {
      const server = await startServer({ env: { MODEL_DIR: join(MODELS, name) } })
      assert.equal(server.log.length, 1)
      await server.stop()
    }
  })

  test('labels as transformers reads them', () => {
    const notes: string[] = []
    const labels = (json: object, classes = 2) => {
      const config = { path: 'config.json', json: json as Record<string, unknown> }
      const found = findLabels(config, undefined, (note) => notes.push(note))
      return inClassOrder(found, classes, prefixOf(config))
    }
    assert.deepEqual(labels({}), ['0', '1'])
    assert.deepEqual(labels({ model_type: 'vit' }), ['LABEL_0', 'LABEL_1'])
    assert.deepEqual(labels({ model_type: 'timm_wrapper' }), ['0', '1'])
    assert.deepEqual(labels({ label2id: { dog: 1, cat: 0 } }), ['cat', 'dog'])
    assert.deepEqual(labels({ id2label: { '00': 3, '01': 'b' }, label2id: { c: 0 } }), ['3', 'b'])
    assert.throws(() => labels({ id2label: { 0: 'a', 1: {} } }), /id2label has no label for class 1/)
    assert.deepEqual(notes, [])
    const imageNet = labels({ architecture: 'resnet18', num_classes: 1000 }, 1000)
    assert.deepEqual(
      [imageNet[0], imageNet[281], imageNet[999]],
      ['tench, Tinca tinca', 'tabby, tabby cat', 'toilet tissue, toilet paper, bathroom tissue'],
    )
    assert.match(notes.join(), /^there are no labels: ImageNet-1k's are used/)
    assert.equal(labels({ architecture: 'vit', num_classes: 21843 }, 21843)[7], '7')
    assert.match(notes.join(), /there are no labels, and timm's of 21843 classes are not included/)
  })

  test('the only graph of a folder is served, with a note', async () => {
    const dir = folder('linear', {})
    renameSync(join(dir, 'model.onnx'), join(dir, 'resnet.onnx'))
    const server = await startServer({ env: { MODEL_DIR: dir } })
    const { notes } = (await (await fetch(`${server.url}/model`)).json()) as { notes: string[] }
    assert.deepEqual(notes, ['there is no model.onnx: resnet.onnx is served'])
    await server.stop()
  })

  test('GET /model has the notes, without the path of the folder', async () => {
    const dir = folder('four', { 'config.json': { lables: ['a', 'b', 'c'] } })
    const server = await startServer({ env: { MODEL_DIR: dir } })
    const { notes } = (await (await fetch(`${server.url}/model`)).json()) as { notes: string[] }
    assert.deepEqual(notes, ['config.json: lables has no effect: did you mean labels?'])
    await server.stop()
  })

  test('config.json names the output with the scores', async () => {
    const dir = folder('outputs', { 'config.json': '{"output":"twice","labels":["ant","bee","cat"]}' })
    const server = await startServer({ env: { MODEL_DIR: dir } })
    const { label, predictions } = await post(server, '/predict', '{"data":[[1,3,2]]}', 'application/json')
    assert.equal(label, 'bee')
    assertClose(predictions[1].score, Math.exp(-2) / (1 + Math.exp(-2) + Math.exp(-4)))
    await server.stop()
  })

  test('every key of config.json has an effect, is known to a library, or is noted', () => {
    const known = new Set([
      ...KNOWN_KEYS.config,
      'labels',
      'function_to_apply',
      'threshold',
      'output',
      'version',
    ])
    const dir = folder('number', {})
    const key = fc.oneof(
      fc.constantFrom(...known),
      fc.string({ minLength: 1 }),
      fc
        .tuple(fc.constantFrom(...known), fc.nat(20), fc.string({ maxLength: 2 }))
        .map(([name, at, text]) => name.slice(0, at) + text + name.slice(at + 1)),
    )
    fc.assert(
      fc.property(key, (name) => {
        fc.pre(name !== '__proto__')
        writeFileSync(join(dir, 'config.json'), JSON.stringify({ [name]: 1 }))
        const notes: string[] = []
        readModelFolder(dir, '', (note) => notes.push(note))
        assert.equal(notes.length, known.has(name) ? 0 : 1, name)
        if (notes[0]) assert.ok(notes[0].includes(`config.json: ${name} has no effect`), notes[0])
      }),
    )
  })
})
