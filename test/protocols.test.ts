import assert from 'node:assert/strict'
import { cpSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import sharp from 'sharp'
import { createApp, loadModel } from '../index.ts'
import { readCommand } from '../lib/process/command_line.ts'
import { readSettings } from '../lib/process/settings.ts'
import { ROOT, type RunningServer, run, startServer } from './running_server.ts'

const MODELS = join(ROOT, 'test/fixtures/models')
const SAMPLE = new Uint8Array(readFileSync(join(ROOT, 'models/mnist/sample.png')))

async function json(response: Response, status = 200) {
  const text = await response.text()
  assert.equal(response.status, status, text)
  return JSON.parse(text)
}

describe('TorchServe', () => {
  let server: RunningServer
  before(async () => {
    server = await startServer({ env: { MODEL_NAME: 'digits', MAX_QUEUE: '70' } })
  })
  after(() => server.stop())

  test('/ping is healthy', async () => {
    assert.deepEqual(await json(await fetch(`${server.url}/ping`)), { status: 'Healthy' })
  })

  test('an image gets labels and probabilities, best first in the JSON text', async () => {
    const { predictions } = await json(await fetch(`${server.url}/predict`, { method: 'PUT', body: SAMPLE }))
    const expected = `{${predictions.map(({ label, score }: { label: string; score: number }) => `"${label}":${score}`)}}`
    for (const path of ['/predictions/digits', '/predictions/digits/1']) {
      for (const method of ['PUT', 'POST']) {
        const response = await fetch(server.url + path, {
          method,
          body: SAMPLE,
          headers: { 'content-type': 'text/weird' },
        })
        assert.equal(await response.text(), expected)
      }
    }
    const form = new FormData()
    form.set('data', new Blob([SAMPLE]), 'digit.jpg')
    assert.equal(
      await (await fetch(`${server.url}/predictions/digits`, { method: 'POST', body: form })).text(),
      expected,
    )
    const text = JSON.stringify(Buffer.from(SAMPLE).toString('base64'))
    const headers = { 'content-type': 'application/json' }
    const base64 = await fetch(`${server.url}/predictions/digits`, { method: 'POST', body: text, headers })
    assert.equal(await base64.text(), expected)
    const bare = await fetch(`${server.url}/predictions/digits`, {
      method: 'PUT',
      body: SAMPLE,
      headers: { accept: 'text/plain' },
    })
    assert.equal(await bare.text(), '2')
  })

  test("the model's description", async () => {
    assert.deepEqual(await json(await fetch(`${server.url}/models`)), {
      models: [{ modelName: 'digits', modelUrl: 'digits' }],
    })
    for (const path of ['/models/digits', '/models/digits/1', '/models/digits/all']) {
      const [model] = await json(await fetch(server.url + path))
      assert.equal(model.modelName, 'digits')
      assert.equal(model.modelVersion, '1')
      assert.equal(model.batchSize, 32)
      assert.deepEqual(model.jobQueueStatus, { remainingCapacity: 70, pendingRequests: 0 })
      assert.equal(model.workers[0].pid, server.process.pid)
      assert.equal(model.workers[0].status, 'READY')
    }
  })

  test("errors have TorchServe's shape", async () => {
    const unknown = await fetch(`${server.url}/predictions/cats`, { method: 'PUT', body: SAMPLE })
    assert.deepEqual(await json(unknown, 404), {
      code: 404,
      type: 'ModelNotFoundException',
      message: 'Model not found: cats',
    })
    const version = await json(await fetch(`${server.url}/models/digits/9`), 404)
    assert.equal(version.type, 'ModelVersionNotFoundException')
    const path = await json(await fetch(`${server.url}/predictions`), 404)
    assert.equal(path.type, 'ResourceNotFoundException')
    const broken = await fetch(`${server.url}/predictions/digits`, {
      method: 'PUT',
      body: SAMPLE.slice(0, 3000),
    })
    const { code, type } = await json(broken, 422)
    assert.deepEqual([code, type], [422, 'BadRequestException'])
    const method = await fetch(`${server.url}/predictions/digits`, { method: 'DELETE' })
    assert.equal(method.headers.get('allow'), 'POST, PUT, OPTIONS')
    assert.equal((await json(method, 405)).code, 405)
  })
})

test('TorchServe: a regression is a list, and classes of the same name stay distinct', async () => {
  const linear = await startServer({ env: { MODEL_DIR: join(MODELS, 'linear') } })
  const response = await fetch(`${linear.url}/predictions/linear`, {
    method: 'POST',
    body: '5.0',
    headers: { 'content-type': 'text/plain' },
  })
  assert.equal(await response.text(), '[9]')
  await linear.stop()

  const four = await startServer({ env: { MODEL_DIR: join(MODELS, 'four') } }) // labels a, a, b
  const headers = { 'content-type': 'application/json' }
  const result = await json(
    await fetch(`${four.url}/predictions/four`, { method: 'POST', body: '[1,2,3,4,5]', headers }),
  )
  assert.deepEqual(Object.keys(result).sort(), ['a', 'a 1', 'b'])
  await four.stop()
})

test("the book's and TorchServe's own calls, against a matching folder", async (t) => {
  const digits = await startServer()
  t.after(digits.stop)
  // curl -T digit_image.jpg: really a PNG, with an alpha channel
  const image = new Uint8Array(await sharp(SAMPLE).ensureAlpha(0.5).png().toBuffer())
  const uploaded = await fetch(`${digits.url}/predictions/mnist`, { method: 'PUT', body: image })
  assert.match(await uploaded.text(), /^\{"2":(1|0\.9)/)
  const best = await fetch(`${digits.url}/predictions/mnist`, {
    method: 'PUT',
    body: image,
    headers: { accept: 'text/plain' },
  })
  assert.equal(await best.text(), '2')
  // requests.post(url, files={'data': tensor bytes, 'metadata': json}), then json.loads of the response
  const seen = await fetch(`${digits.url}/preprocess`, { method: 'POST', body: SAMPLE })
  const form = new FormData()
  form.set('data', new Blob([await seen.arrayBuffer()]), 'data')
  form.set('metadata', new Blob(['{"dims":[1,1,28,28]}'], { type: 'application/json' }), 'metadata')
  assert.equal(await json(await fetch(`${digits.url}/test`, { method: 'POST', body: form })), 2)

  const linear = await startServer({ env: { MODEL_DIR: join(MODELS, 'linear') } })
  t.after(linear.stop)
  const value = new URLSearchParams({ value: '5' })
  assert.deepEqual(await json(await fetch(`${linear.url}/predict`, { method: 'POST', body: value })), {
    input: 5,
    prediction: 9,
  })

  const fashion = await startServer({ env: { MODEL_DIR: join(MODELS, 'fashion') } })
  t.after(fashion.stop)
  const clothes = await json(
    await fetch(`${fashion.url}/predictions/fashion`, { method: 'PUT', body: image }),
  )
  assert.equal(Object.keys(clothes).length, 5)
  const scores = Object.values(clothes) as number[]
  assert.deepEqual(
    scores,
    scores.toSorted((a, b) => b - a),
  )

  // the Swagger upload: 40 attributes there, 6 here, those over 0.3
  const faces = await startServer({ env: { MODEL_DIR: join(MODELS, 'faces') } })
  t.after(faces.stop)
  const upload = new FormData()
  upload.set('image', new Blob([image]), 'face.png')
  const { predictions } = await json(await fetch(`${faces.url}/predict`, { method: 'POST', body: upload }))
  assert.ok(predictions.length > 0)
  for (const { score } of predictions) assert.ok(score > 0.3)
})

test('V1: instances get predictions, always a list, and errors have its shape', async () => {
  const server = await startServer({ env: { MODEL_DIR: join(MODELS, 'linear'), MODEL_NAME: 'line' } })
  const post = (path: string, body: string) =>
    fetch(server.url + path, { method: 'POST', body, headers: { 'content-type': 'application/json' } })
  const predictions = (...inputs: number[]) => ({
    predictions: inputs.map((input) => ({ input, prediction: 2 * input - 1 })),
  })
  assert.deepEqual(await json(await post('/v1/models/line:predict', '{"instances":[[5]]}')), predictions(5))
  assert.deepEqual(
    await json(await post('/v1/models/line:predict', '{"instances":[5,6],"parameters":{}}')),
    predictions(5, 6),
  )
  assert.deepEqual(await json(await fetch(`${server.url}/v1/models`)), { models: ['line'] })
  const { name, ready } = await json(await fetch(`${server.url}/v1/models/line`))
  assert.deepEqual({ name, ready }, { name: 'line', ready: true })
  const accept = { accept: 'application/json' }
  assert.deepEqual(await json(await fetch(server.url, { headers: accept })), { status: 'alive' })
  assert.match((await json(await post('/v1/models/cat:predict', '{"instances":[1]}'), 404)).error, /cat/)
  assert.match(
    (await json(await post('/v1/models/line:predict', '{"instances":[]}'), 400)).error,
    /instances/,
  )
  // GET is allowed on /v1/models/:model, which looks like this path
  const method = await fetch(`${server.url}/v1/models/line:predict`)
  assert.equal(method.headers.get('allow'), 'POST, OPTIONS')
  assert.deepEqual(Object.keys(await json(method, 405)), ['error'])
  await server.stop()
})

describe('TF Serving', () => {
  const b64 = Buffer.from(SAMPLE).toString('base64')
  const signature = { signature_name: 'serving_default' }
  let server: RunningServer
  before(async () => {
    server = await startServer({ env: { MODEL_NAME: 'digits' } })
  })
  after(() => server.stop())

  // as `curl -d` sends it, without the type of JSON
  const predict = (body: object, path = '/v1/models/digits:predict') => {
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    return fetch(server.url + path, { method: 'POST', body: JSON.stringify(body), headers })
  }

  test('a version may be named; 0 is the default one', async () => {
    for (const version of ['1', '0']) {
      const path = `/v1/models/digits/versions/${version}:predict`
      const { predictions } = await json(await predict({ instances: [{ b64 }] }, path))
      assert.equal(predictions[0].label, '2')
    }
    const unknown = await predict({ instances: [{ b64 }] }, '/v1/models/digits/versions/7:predict')
    assert.match((await json(unknown, 404)).error, /version 7 of digits is not found: this server has 1/)
  })

  test('rows with named inputs get predictions', async () => {
    for (const name of ['image_bytes', 'pixel_values']) {
      const { predictions } = await json(await predict({ instances: [{ [name]: { b64 } }], ...signature }))
      assert.equal(predictions[0].label, '2')
    }
    const tensor = { pixel_values: [Array(28).fill(Array(28).fill(0))] }
    const { predictions } = await json(await predict({ instances: [tensor, tensor] }))
    assert.equal(predictions.length, 2)
  })

  test("columns get the graph's outputs, as in V2", async () => {
    const pixels = Array.from({ length: 784 }, (_, i) => (i % 50) / 50)
    const rows = Array.from({ length: 28 }, (_, row) => pixels.slice(row * 28, row * 28 + 28))
    const inputs = [{ name: 'pixel_values', datatype: 'FP32', shape: [1, 1, 28, 28], data: pixels }]
    const { outputs } = await json(await predict({ inputs }, '/v2/models/digits/infer'))
    const expected = { outputs: [outputs[0].data] }
    for (const columns of [[[rows]], { pixel_values: [[rows]] }]) {
      assert.deepEqual(await json(await predict({ inputs: columns })), expected)
    }
    const image = await json(await predict({ inputs: { image_bytes: [{ b64 }, { b64 }] } }))
    assert.deepEqual([image.outputs.length, image.outputs[0].length], [2, 10])
    assert.equal(image.outputs[0].indexOf(Math.max(...image.outputs[0])), 2)
    const single = await json(await predict({ inputs: { image_bytes: { b64 } } }))
    assert.deepEqual(single.outputs, [image.outputs[0]])
  })

  test('unsupported requests are refused with the reason', async () => {
    for (const [body, message] of [
      [{ inputs: { a: [1], b: [2] } }, /inputs \["a","b"\]: expected one, pixel_values/],
      [{ instances: [{ other: [1] }] }, /expected one, pixel_values/],
      [{ instances: [{ b64 }], signature_name: 'other' }, /signature_name is "other"/],
      [{ inputs: [] }, /empty list/],
    ] as const) {
      assert.match((await json(await predict(body), 400)).error, message)
    }
    for (const verb of ['classify', 'regress']) {
      for (const version of ['', '/versions/1']) {
        const response = await predict({ examples: [{ x: 1 }] }, `/v1/models/digits${version}:${verb}`)
        assert.match((await json(response, 400)).error, /tf\.Example .* :predict/)
      }
    }
  })

  test('status and metadata', async () => {
    const status = { error_code: 'OK', error_message: '' }
    for (const path of ['/v1/models/digits', '/v1/models/digits/versions/1']) {
      const { model_version_status } = await json(await fetch(server.url + path))
      assert.deepEqual(model_version_status, [{ version: '1', state: 'AVAILABLE', status }])
      const { model_spec, metadata } = await json(await fetch(`${server.url}${path}/metadata`))
      assert.deepEqual([model_spec.name, model_spec.version], ['digits', '1'])
      const { inputs, outputs } = metadata.signature_def.signature_def.serving_default
      assert.equal(inputs.pixel_values.dtype, 'DT_FLOAT')
      assert.deepEqual(
        inputs.pixel_values.tensor_shape.dim.map(({ size }: { size: string }) => size),
        ['-1', '1', '28', '28'],
      )
      assert.equal(Object.keys(outputs).length, 1)
    }
  })

  test('/ says alive to clients that accept JSON, and to the KServe client', async () => {
    const kserve = { accept: '*/*', 'user-agent': 'python-httpx/0.28.1' }
    for (const headers of [{ accept: 'application/json' }, kserve] as Record<string, string>[]) {
      assert.deepEqual(await json(await fetch(server.url, { headers })), { status: 'alive' })
    }
    for (const accept of ['*/*', 'text/html,application/xhtml+xml,*/*;q=0.8']) {
      const page = await fetch(server.url, { headers: { accept } })
      assert.match(page.headers.get('content-type')!, /^text\/html/)
      assert.match(page.headers.get('vary')!, /accept/i)
    }
  })
})

test('SageMaker: the argument serve makes 8080 the default port, /invocations is /predict', async () => {
  const { port } = readCommand(['serve'])
  assert.equal(readSettings({}, port).PORT, 8080)
  const server = await startServer({ args: ['server.js', 'serve'] }) // PORT=0 in the tests
  const [invoked, predicted] = await Promise.all(
    ['/invocations', '/predict'].map(async (path) =>
      json(await fetch(server.url + path, { method: 'POST', body: SAMPLE })),
    ),
  )
  assert.deepEqual(invoked, predicted)
  await server.stop()
})

test('Vertex AI: routes and port come from its variables; colons are literal', async () => {
  const predict = '/v1/endpoints/1/deployedModels/2:predict'
  const server = await startServer({
    env: {
      PORT: '',
      AIP_HTTP_PORT: '0',
      AIP_HEALTH_ROUTE: '/up',
      AIP_PREDICT_ROUTE: predict,
      API_TOKEN: 'secret',
    },
  })
  assert.equal((await fetch(`${server.url}/up`)).status, 200)
  const body = JSON.stringify({
    instances: [{ b64: Buffer.from(SAMPLE).toString('base64') }],
    parameters: {},
  })
  const headers = { 'content-type': 'application/json', authorization: 'Bearer secret' }
  const { predictions } = await json(await fetch(server.url + predict, { method: 'POST', body, headers }))
  assert.equal(predictions[0].label, '2')
  await server.stop()
})

test('Vertex AI: its variables may name our health and V1 routes', async () => {
  const predict = '/v1/models/mnist:predict'
  const server = await startServer({
    env: { AIP_HEALTH_ROUTE: '/readyz', AIP_PREDICT_ROUTE: predict, API_TOKEN: 'secret' },
  })
  assert.equal((await fetch(`${server.url}/readyz`)).status, 200)
  assert.equal((await fetch(server.url + predict, { method: 'POST', body: SAMPLE })).status, 401)
  const headers = { authorization: 'Bearer secret' }
  const response = await fetch(server.url + predict, { method: 'POST', body: SAMPLE, headers })
  assert.equal((await json(response)).predictions.length, 1)
  const { paths } = await json(await fetch(`${server.url}/openapi.json`, { headers }))
  assert.ok(paths['/readyz'] && !paths[predict])
  await server.stop()
})

test('Vertex AI: a path that is taken stops the start with one line', async () => {
  const API_TOKEN = 'secret'
  for (const AIP_HEALTH_ROUTE of ['', '/']) {
    const env = { API_TOKEN, AIP_HEALTH_ROUTE, AIP_PREDICT_ROUTE: '/' }
    const { code, stderr } = await run(['server.js'], env)
    assert.equal(code, 1)
    assert.match(stderr, /^onnxpress: AIP_\w+_ROUTE=[^\n]+: choose another path, such as \/[^\n]+\n$/)
  }
  const model = await loadModel(join(ROOT, 'models/mnist'))
  const open = async (settings: object) => {
    const app = await createApp(model, { API_TOKEN, ...settings })
    assert.ok(app)
  }
  for (const path of [
    '/page.css',
    '/predict',
    '/PREDICT/',
    '/docs',
    '/docs/docs.mjs',
    '/openapi.json',
    '/metrics',
    '/model',
    '/invocations',
    '/predictions/mnist',
    '/models/mnist',
    '/v1/models/other:predict',
    '/v2/models/mnist/infer',
  ]) {
    await assert.rejects(open({ AIP_PREDICT_ROUTE: path }), /the server has a route/, path)
    await assert.rejects(open({ AIP_HEALTH_ROUTE: path }), /the server has a route/, path)
  }
  await assert.rejects(
    open({ AIP_HEALTH_ROUTE: '/a', AIP_PREDICT_ROUTE: '/a' }),
    /it is the health route too/,
  )
  for (const path of ['/livez', '/readyz', '/ping', '/v2/health/live', '/v2/health/ready']) {
    await assert.rejects(open({ AIP_PREDICT_ROUTE: path }), /the server has a route/, path)
    await assert.rejects(
      open({ AIP_PREDICT_ROUTE: path, AIP_HEALTH_ROUTE: path }),
      /health route too|the server has a route/,
      path,
    )
    await open({ AIP_HEALTH_ROUTE: path, AIP_PREDICT_ROUTE: '/v1/endpoints/1/deployedModels/2:predict' })
  }
  await model.close()
})

describe('API_TOKEN', () => {
  let server: RunningServer
  before(async () => {
    server = await startServer({ env: { API_TOKEN: 's3cret' } })
  })
  after(() => server.stop())

  test('the probes need no token', async () => {
    for (const path of ['/livez', '/readyz', '/ping'])
      assert.equal((await fetch(server.url + path)).status, 200)
  })

  test('a probe is open for GET only', async () => {
    for (const method of ['POST', 'PUT', 'DELETE'])
      assert.equal((await fetch(`${server.url}/livez`, { method })).status, 401)
  })

  test('everything else needs the token', async () => {
    for (const path of [
      '/predict',
      '/test',
      '/preprocess',
      '/predictions/mnist',
      '/invocations',
      '/nothing',
    ]) {
      for (const authorization of ['', 'Bearer wrong', 'Bearer', 'Basic s3cret', 's3cret']) {
        const response = await fetch(server.url + path, {
          method: 'POST',
          body: SAMPLE,
          headers: { authorization },
        })
        assert.equal(response.status, 401, `${path} ${authorization}`)
        assert.match(response.headers.get('www-authenticate')!, /^Bearer/)
      }
    }
    for (const path of ['/model', '/models', '/model/sample'])
      assert.equal((await fetch(server.url + path)).status, 401)
  })

  test('with the token, requests are answered', async () => {
    const headers = { authorization: 'Bearer s3cret' }
    assert.equal(
      (await json(await fetch(`${server.url}/predict`, { method: 'POST', body: SAMPLE, headers }))).label,
      '2',
    )
    assert.equal((await fetch(`${server.url}/model`, { headers })).status, 200)
  })

  test('the client sends it', async () => {
    const args = ['make_request.js', '--url', server.url]
    const { stdout } = await run(args, { API_TOKEN: 's3cret' })
    assert.equal(stdout, 'Predicted digit : 2\n')
    assert.match((await run(args)).stderr, /responded with 401: this server requires its API_TOKEN/)
  })
})

test('listening on every interface without a token causes one warning', async () => {
  const server = await startServer({ env: { HOST: '0.0.0.0' } })
  assert.equal(server.log.filter((line) => line.includes('without API_TOKEN')).length, 1)
  await server.stop()
  const safe = await startServer({ env: { HOST: '0.0.0.0', API_TOKEN: 'x' } })
  assert.equal(safe.log.length, 1)
  await safe.stop()
})

test("the version in config.json is the routes' version", async () => {
  const dir = join(mkdtempSync(join(tmpdir(), 'onnxpress-version-')), 'linear')
  cpSync(join(MODELS, 'linear'), dir, { recursive: true })
  writeFileSync(join(dir, 'config.json'), '{"problem_type":"regression","version":"2.1"}')
  const server = await startServer({ env: { MODEL_DIR: dir } })
  const headers = { 'content-type': 'text/plain' }
  const right = await fetch(`${server.url}/predictions/linear/2.1`, { method: 'POST', body: '1', headers })
  assert.equal(await right.text(), '[1]')
  assert.equal(
    (await fetch(`${server.url}/predictions/linear/1`, { method: 'POST', body: '1', headers })).status,
    404,
  )
  await server.stop()
})
