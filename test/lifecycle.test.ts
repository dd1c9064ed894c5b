import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { Agent, type IncomingMessage, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import sharp from 'sharp'
import { ROOT, type RunningServer, run, startServer } from './running_server.ts'

const MODELS = join(ROOT, 'test/fixtures/models')
/** y = x, in some 15 ms per sample, one at a time */
const SLOW = { MODEL_DIR: join(MODELS, 'slow'), MAX_BATCH_SIZE: '1' }
const KILLER = { NODE_OPTIONS: `--import=${join(ROOT, 'test/fixtures/kill_worker.mjs')}` }

async function start(t: TestContext, env: Record<string, string> = {}): Promise<RunningServer> {
  const server = await startServer({ env })
  t.after(() => server.stop())
  return server
}

/** @returns the response, once it is complete */
async function getThrough(agent: Agent, url: string): Promise<IncomingMessage> {
  const [response] = (await once(request(url, { agent }).end(), 'response')) as [IncomingMessage]
  await once(response.resume(), 'end')
  return response
}

/** Send numbers to a model of one number per sample. */
function predict(server: RunningServer, values: number[], options: RequestInit = {}): Promise<Response> {
  return fetch(`${server.url}/predict?dims=${values.length},1`, {
    method: 'POST',
    body: Float32Array.from(values),
    ...options,
  })
}

async function assertRight(response: Response, values: number[]): Promise<void> {
  const text = await response.text()
  assert.equal(response.status, 200, text)
  const found = [JSON.parse(text)].flat().map(({ prediction }) => prediction)
  for (const [index, value] of values.entries()) assert.ok(Math.abs(found[index] - value) < 1e-3, text)
}

/** The metrics by their full names, labels included. */
async function metricsOf(server: RunningServer, headers = {}): Promise<Map<string, number>> {
  const text = await (await fetch(`${server.url}/metrics`, { headers })).text()
  const lines = text.split('\n').filter((line) => line && !line.startsWith('#'))
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  )
}

/** Wait for a condition; the runner's timeout ends a test that waits forever. */
async function until(condition: () => Promise<boolean> | boolean): Promise<void> {
  while (!(await condition())) await setTimeout(5)
}

async function untilMetric(server: RunningServer, name: string, value: number): Promise<void> {
  await until(async () => (await metricsOf(server)).get(name) === value)
}

async function untilWaiting(server: RunningServer, atLeast: number): Promise<void> {
  await until(async () => (await metricsOf(server)).get('onnxpress_queue_samples')! >= atLeast)
}

/** Wait for a line of the log that matches. */
async function logged(server: RunningServer, matches: (line: Record<string, unknown>) => boolean) {
  for (;;) {
    const line = server.log.map((text) => JSON.parse(text)).find(matches)
    if (line) return line
    await setTimeout(5)
  }
}

function open(server: RunningServer): Socket {
  const { hostname, port } = new URL(server.url)
  return connect(Number(port), hostname)
}

async function textOf(socket: Socket): Promise<string> {
  let text = ''
  socket.setEncoding('latin1').on('data', (chunk) => {
    text += chunk
  })
  await once(socket, 'close')
  return text
}

describe('admission', () => {
  /** ten samples fill the queue, and wait there for a while, since they do not fill a batch */
  const full = { MODEL_DIR: join(MODELS, 'linear'), MAX_QUEUE: '10', MAX_BATCH_DELAY_MS: '3000' }

  test('requests that would overflow the queue get 503 with Retry-After, and admitted ones are answered', async (t) => {
    const server = await start(t, full)
    const admitted = [0, 1, 2, 3, 4, 5, 6].map((i) => predict(server, [i]))
    await untilWaiting(server, 7)
    const refused = await predict(server, [1, 2, 3, 4])
    assert.equal(refused.status, 503)
    assert.ok(Number(refused.headers.get('retry-after')) >= 1)
    const { detail } = (await refused.json()) as { detail: string }
    assert.match(detail, /the queue is full: 7 samples wait; the limit is 10 \(MAX_QUEUE\)/)
    const rest = predict(server, [7, 8, 9])
    for (const [i, response] of (await Promise.all(admitted)).entries())
      await assertRight(response, [2 * i - 1])
    await assertRight(await rest, [13, 15, 17])
  })

  test('a full queue refuses before the body is sent', async (t) => {
    const server = await start(t, full)
    const waiting = predict(server, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    await untilWaiting(server, 10)
    const socket = open(server)
    socket.write(
      'POST /predict?dims=1,1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nConnection: close\r\n\r\n',
    )
    assert.match(await textOf(socket), /^HTTP\/1\.1 503 /)
    assert.equal((await waiting).status, 200)
  })

  for (const bytes of [4, 100_000])
    test(`a refused body of ${bytes} bytes may still arrive, and the connection stays open`, async (t) => {
      const server = await start(t, full)
      const waiting = predict(server, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
      await untilWaiting(server, 10)
      const socket = open(server)
      socket.write(`POST /predict?dims=1,1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${bytes}\r\n\r\n`)
      const [refused] = await once(socket, 'data')
      assert.match(String(refused), /^HTTP\/1\.1 503 /)
      socket.write(Buffer.alloc(bytes, 'x'))
      socket.write('GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n')
      assert.match(await textOf(socket), /^HTTP\/1\.1 200 .*alive/s)
      assert.equal((await waiting).status, 200)
    })

  const head = (length: number | string, more = '') =>
    `POST /predict?dims=1,28,28 HTTP/1.1\r\nHost: localhost\r\n${more}${typeof length === 'number' ? `Content-Length: ${length}` : length}\r\n\r\n`

  test('bodies that are being sent share a memory cap', async (t) => {
    const server = await start(t, { MAX_UPLOAD_MB: '1' })
    const sockets = Array.from({ length: 16 }, () => open(server))
    for (const socket of sockets) {
      socket.write(head(2 ** 20))
      socket.write(Buffer.alloc(2 ** 20 - 4))
    }
    await untilMetric(server, 'onnxpress_bytes_in_flight', 16 * (2 ** 20 - 4))
    const refused = open(server)
    refused.write(head(3136, 'Connection: close\r\n') + 'x'.repeat(100))
    assert.match(await textOf(refused), /^HTTP\/1\.1 503 .*retry-after: 1/is)
    for (const socket of sockets) socket.destroy()
    await untilMetric(server, 'onnxpress_bytes_in_flight', 0)
    await untilMetric(server, 'onnxpress_rejected_total{reason="client_gone"}', 16)
  })

  test('tensors share it, also those in responses that nobody reads', async (t) => {
    const server = await start(t, { MODEL_DIR: join(MODELS, 'any_size'), MAX_UPLOAD_MB: '1' })
    // its tensor is as wide, and has 12.5 MB; the cap is 16 MB
    const [width, height] = [65_000, 16]
    const image = await sharp({ create: { width, height, channels: 3, background: '#579' } })
      .png()
      .toBuffer()
    const preprocess = (images: number) => {
      const body = new FormData()
      for (let i = 0; i < images; i++) body.append('image', new Blob([new Uint8Array(image)]))
      return fetch(`${server.url}/preprocess`, { method: 'POST', body })
    }
    const unread = open(server).pause()
    const length = `Content-Length: ${image.length}`
    unread.write(`POST /preprocess HTTP/1.1\r\nHost: localhost\r\n${length}\r\n\r\n`)
    unread.write(image)
    await until(async () => (await metricsOf(server)).get('onnxpress_bytes_in_flight')! > 12e6)
    const refused = await preprocess(1)
    assert.equal(refused.status, 503)
    assert.match(await refused.text(), /bytes are being processed; the limit is 16777216: try again later/)
    unread.destroy()
    await untilMetric(server, 'onnxpress_bytes_in_flight', 0)
    assert.equal((await (await preprocess(1)).arrayBuffer()).byteLength, width * height * 3 * 4)
    const tooLarge = await preprocess(2)
    assert.equal(tooLarge.status, 413)
    assert.match(
      await tooLarge.text(),
      /the request and its tensors have \d+ bytes; the limit is 16777216, and grows/,
    )
    await untilMetric(server, 'onnxpress_bytes_in_flight', 0)
  })

  test('requests whose bodies do not arrive block no others', async (t) => {
    const server = await start(t, { MODEL_DIR: join(MODELS, 'linear'), MAX_UPLOAD_MB: '1' })
    const sockets = Array.from({ length: 40 }, () => open(server))
    for (const socket of sockets) socket.write(head(2 ** 20))
    await untilMetric(server, 'onnxpress_requests_in_flight', 40)
    await assertRight(await predict(server, [5]), [9])
    for (const socket of sockets) socket.destroy()
    await untilMetric(server, 'onnxpress_requests_in_flight', 0)
  })

  test('bytes that a refused client goes on sending are not counted', async (t) => {
    const server = await start(t, { MAX_UPLOAD_MB: '1' })
    const chunk = `10000\r\n${'x'.repeat(0x10000)}\r\n`
    for (const more of [
      '',
      'Content-Encoding: zstd\r\n',
      'Content-Type: multipart/form-data; boundary=b\r\n',
    ]) {
      const socket = open(server)
      socket.write(head('Transfer-Encoding: chunked', more))
      const response = once(socket, 'data')
      for (let i = 0; i < 40; i++) socket.write(chunk)
      assert.match(String((await response)[0]), /^HTTP\/1\.1 4/)
      for (let i = 0; i < 40; i++) socket.write(chunk)
      socket.end('0\r\n\r\n')
      await once(socket, 'close')
    }
    await untilMetric(server, 'onnxpress_bytes_in_flight', 0)
  })

  test('a compressed body counts with its decompressed size', async (t) => {
    const server = await start(t, { MAX_UPLOAD_MB: '1' })
    const packed = gzipSync(Buffer.alloc(2 ** 20 - 10)).subarray(0, -8) // all of it but the end
    const sockets = Array.from({ length: 16 }, () => open(server))
    for (const socket of sockets) {
      socket.write(head(packed.length + 8, 'Content-Encoding: gzip\r\n'))
      socket.write(packed)
    }
    await until(async () => (await metricsOf(server)).get('onnxpress_bytes_in_flight')! > 15 * 2 ** 20)
    for (const socket of sockets) socket.destroy()
    await untilMetric(server, 'onnxpress_bytes_in_flight', 0)
  })

  test('pipelined requests are dropped with their connection, even those that have not started', async (t) => {
    const server = await start(t, { ...SLOW, MAX_QUEUE: '1000' })
    const socket = open(server)
    const body = Buffer.alloc(4 * 50)
    const one = Buffer.concat([
      Buffer.from(
        `POST /predict?dims=50,1 HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length}\r\n\r\n`,
      ),
      body,
    ])
    socket.write(Buffer.concat([one, one, one, one]))
    await untilWaiting(server, 150)
    socket.destroy()
    await untilMetric(server, 'onnxpress_queue_samples', 0)
    await untilMetric(server, 'onnxpress_requests_in_flight', 0)
    await untilMetric(server, 'onnxpress_bytes_in_flight', 0)
  })

  test('a client that does not read its responses is cut off, and affects no other', async (t) => {
    const server = await start(t, { MODEL_DIR: join(MODELS, 'linear'), REQUEST_TIMEOUT_MS: '300' })
    const socket = open(server)
    socket.pause()
    socket.write('GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(8))
    socket.write('GET /livez HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n')
    await until(async () => (await metricsOf(server)).get('onnxpress_requests_in_flight')! > 0)
    await untilMetric(server, 'onnxpress_requests_in_flight', 0)
    await assertRight(await predict(server, [5]), [9])
    socket.destroy()
  })

  test('Expect: 100-continue is refused before the body: no token, too large, a full queue', async (t) => {
    const server = await start(t, { ...full, API_TOKEN: 's3cret', MAX_UPLOAD_MB: '1' })
    const token = 'Authorization: Bearer s3cret\r\n'
    const ask = async (length: number, more: string) => {
      const socket = open(server)
      socket.write(head(length, `Expect: 100-continue\r\n${more}`))
      const [response] = await once(socket, 'data')
      socket.destroy()
      return String(response).slice(9, 12)
    }
    assert.equal(await ask(3136, ''), '401')
    assert.equal(await ask(2 ** 20 + 1, token), '413')
    assert.equal(await ask(3136, token), '100')
    const headers = { authorization: 'Bearer s3cret' }
    await until(async () => (await metricsOf(server, headers)).get('onnxpress_requests_in_flight') === 0)
    const waiting = predict(server, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9], { headers })
    await until(async () => (await ask(3136, token)) === '503')
    assert.equal((await waiting).status, 200)
  })

  test('a body without a length is counted as it arrives', async (t) => {
    const server = await start(t, { MAX_UPLOAD_MB: '1' })
    const socket = open(server)
    socket.write(
      'POST /predict?dims=1,28,28 HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n400\r\n',
    )
    socket.write('x'.repeat(0x400))
    await untilMetric(server, 'onnxpress_bytes_in_flight', 0x400)
    socket.destroy()
    await untilMetric(server, 'onnxpress_bytes_in_flight', 0)
  })

  test('a request over REQUEST_TIMEOUT_MS gets 504, and its work leaves the queue', async (t) => {
    const server = await start(t, { ...SLOW, REQUEST_TIMEOUT_MS: '500' })
    const late = await predict(server, Array(1000).fill(1))
    assert.equal(late.status, 504)
    assert.match(((await late.json()) as { detail: string }).detail, /500 ms of REQUEST_TIMEOUT_MS/)
    await untilMetric(server, 'onnxpress_queue_samples', 0)
    await assertRight(await predict(server, [5]), [5])
    assert.equal((await metricsOf(server)).get('onnxpress_rejected_total{reason="timeout"}'), 1)
    const other = await fetch(`${server.url}/v2/models/slow/infer`, {
      method: 'POST',
      body: JSON.stringify({
        inputs: [{ name: 'x', datatype: 'FP32', shape: [1000, 1], data: Array(1000).fill(1) }],
      }),
    })
    assert.equal(other.status, 504)
    assert.deepEqual(Object.keys((await other.json()) as object), ['error'])
  })

  test('a body that arrives too slowly gets 408, and its connection is closed', async (t) => {
    const server = await start(t, { REQUEST_TIMEOUT_MS: '150' })
    for (const type of ['application/octet-stream', 'multipart/form-data; boundary=b']) {
      const socket = open(server)
      socket.write(
        `POST /predict?dims=1,28,28 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3136\r\nContent-Type: ${type}\r\n\r\n--b\r\n`,
      )
      const response = await textOf(socket)
      assert.match(response, /^HTTP\/1\.1 408 /)
      assert.match(response, /connection: close/i)
    }
  })

  test('the work of a client that disconnects leaves the queue', async (t) => {
    const server = await start(t, SLOW)
    const controller = new AbortController()
    const gone = assert.rejects(predict(server, Array(200).fill(1), { signal: controller.signal }))
    await untilWaiting(server, 150)
    controller.abort()
    await gone
    await untilMetric(server, 'onnxpress_queue_samples', 0)
    await assertRight(await predict(server, [7]), [7])
    const metrics = await metricsOf(server)
    assert.equal(metrics.get('onnxpress_requests_total{route="/predict",method="POST",status="499"}'), 1)
  })

  test('the images of one request do not delay another request', async (t) => {
    const server = await start(t, { PREPROCESS_THREADS: '1' })
    const sample = readFileSync(join(ROOT, 'models/mnist/sample.png'))
    const form = new FormData()
    for (let i = 0; i < 100; i++) form.append('image', new Blob([new Uint8Array(sample)]), `${i}.png`)
    const order: string[] = []
    const many = fetch(`${server.url}/predict`, { method: 'POST', body: form }).then(async (response) => {
      order.push('many')
      assert.equal(((await response.json()) as unknown[]).length, 100)
    })
    await untilWaiting(server, 10)
    const one = fetch(`${server.url}/predict`, { method: 'POST', body: new Uint8Array(sample) }).then(
      (response) => {
        order.push('one')
        assert.equal(response.status, 200)
      },
    )
    await Promise.all([many, one])
    assert.deepEqual(order, ['one', 'many'])
  })
})

describe('shutdown', () => {
  test('not ready at once, open requests answered, the connection closed, exit code 0', async () => {
    const server = await startServer({ env: { ...SLOW, DRAIN_MS: '3000' } })
    const agent = new Agent({ keepAlive: true })
    const get = (path: string) => getThrough(agent, server.url + path)
    assert.equal((await get('/readyz')).statusCode, 200)
    const work = predict(
      server,
      Array.from({ length: 40 }, (_, i) => i),
    )
    await untilWaiting(server, 20)
    const stopped = server.stop()
    await until(async () => (await get('/readyz')).statusCode === 503)
    const alive = await get('/livez') // requests are accepted during DRAIN_MS
    assert.equal(alive.statusCode, 200)
    assert.equal(alive.headers.connection, 'close')
    await assertRight(
      await work,
      Array.from({ length: 40 }, (_, i) => i),
    )
    assert.equal(await stopped, 0)
  })

  test('requests longer than SHUTDOWN_MS are cut off, with exit code 1', async () => {
    const server = await startServer({ env: { ...SLOW, SHUTDOWN_MS: '100' } })
    const cut = predict(server, Array(200).fill(1)).then(
      ({ status }) => status,
      () => 'reset',
    )
    await untilWaiting(server, 150)
    assert.equal(await server.stop(), 1)
    assert.notEqual(await cut, 200)
  })

  test('clients with keep-alive connections lose no request', async () => {
    const server = await startServer()
    let isRunning = true
    let answered = 0
    const lost: unknown[] = []
    const clients = Array.from({ length: 16 }, async () => {
      const agent = new Agent({ keepAlive: true, maxSockets: 1 })
      while (isRunning) {
        const req = request(`${server.url}/livez`, { agent })
        try {
          const [res] = (await once(req.end(), 'response')) as [IncomingMessage]
          await once(res.resume(), 'end')
          answered++
        } catch (error) {
          // a new connection may be refused: the server has stopped
          if (req.reusedSocket) lost.push(error)
          isRunning = false
        }
      }
      agent.destroy()
    })
    await until(() => answered > 500)
    assert.equal(await server.stop(), 0)
    isRunning = false
    await Promise.all(clients)
    assert.deepEqual(lost, [])
  })

  test('without open requests, even a SHUTDOWN_MS of 0 suffices', async () => {
    const server = await startServer({ env: { SHUTDOWN_MS: '0' } })
    assert.equal(await server.stop(), 0)
  })

  test('a second signal ends the process at once', async () => {
    const server = await startServer({ env: { ...SLOW, SHUTDOWN_MS: '60000' } })
    const cut = predict(server, Array(500).fill(1)).then(
      ({ status }) => status,
      () => 'reset',
    )
    await untilWaiting(server, 400)
    const stopped = server.stop()
    await logged(server, ({ msg }) => String(msg).startsWith('stopping'))
    server.process.kill('SIGINT')
    assert.equal(await stopped, 1)
    assert.notEqual(await cut, 200)
  })

  test('an uncaught exception ends the process, and its cause is logged', async () => {
    const throwing = `data:text/javascript,process.on('SIGUSR2',()=>{throw/**/new/**/Error('out/of/the/blue')})`
    const server = await startServer({ env: { NODE_OPTIONS: `--import=${throwing}` } })
    const exited = once(server.process, 'exit')
    server.process.ref()
    server.process.kill('SIGUSR2')
    assert.deepEqual((await exited)[0], 1)
    const line = await logged(server, ({ level }) => level === 60)
    assert.match(line.err.message, /out.of.the.blue/)
  })
})

describe('SIGHUP', () => {
  function folder(name: string): string {
    const dir = join(mkdtempSync(join(tmpdir(), 'onnxpress-reload-')), 'model')
    cpSync(join(MODELS, name), dir, { recursive: true })
    return dir
  }

  test('the folder is reloaded under load, and every request gets a result of the old or the new model', async (t) => {
    const dir = folder('linear') // y = 2x - 1
    const server = await start(t, { MODEL_DIR: dir })
    let isOver = false
    let answered = 0
    const responses = new Set<string>()
    const headers = { 'content-type': 'application/json' }
    const clients = Array.from({ length: 8 }, async () => {
      while (!isOver) {
        const response = await fetch(`${server.url}/predict`, { method: 'POST', headers, body: '[5]' })
        responses.add(`${response.status} ${await response.text()}`)
        answered++
      }
    })
    await until(() => answered > 20)
    for (const [index, name] of ['number', 'linear', 'number'].entries()) {
      cpSync(join(MODELS, name, 'model.onnx'), join(dir, 'model.onnx')) // number: y = 2x, of [n] instead of [n, 1]
      writeFileSync(join(dir, 'config.json'), `{"problem_type":"regression","version":"${index + 2}"}`)
      server.process.kill('SIGHUP')
      await until(() => server.log.filter((line) => line.includes('reloaded')).length === index + 1)
      if (name === 'linear') await until(() => answered > 40)
    }
    isOver = true
    await Promise.all(clients)
    assert.deepEqual([...responses].sort(), [
      '200 {"input":5,"prediction":10}',
      '200 {"input":5,"prediction":9}',
    ])
    const { version } = (await (await fetch(`${server.url}/model`)).json()) as { version: string }
    assert.equal(version, '4')
    const info = [...(await metricsOf(server)).keys()].filter((name) =>
      name.startsWith('onnxpress_model_info'),
    )
    assert.equal(info.length, 1)
    assert.match(info[0], /version="4"/)
    rmSync(dir, { recursive: true })
  })

  test('SIGTERM during a reload waits for it, since ONNX Runtime would abort', async (t) => {
    for (const delayMs of [5, 10, 20, 30, 45, 60, 80, 100]) {
      const server = await start(t)
      server.process.kill('SIGHUP')
      await setTimeout(delayMs) // moments of the reload, which no event marks
      assert.equal(await server.stop(), 0)
    }
  })

  test('a broken folder changes nothing, and the log says why', async (t) => {
    const dir = folder('linear')
    const server = await start(t, { MODEL_DIR: dir })
    renameSync(join(dir, 'model.onnx'), join(dir, 'gone'))
    server.process.kill('SIGHUP')
    const line = await logged(server, ({ msg }) => String(msg).includes('not reloaded'))
    assert.match(line.msg, /the old one stays: .*there is no model\.onnx/)
    await assertRight(await predict(server, [5]), [9])
    renameSync(join(dir, 'gone'), join(dir, 'model.onnx'))
    server.process.kill('SIGHUP')
    await logged(server, ({ msg }) => String(msg).startsWith('reloaded'))
    await assertRight(await predict(server, [5]), [9])
  })
})

describe('faults', () => {
  test('an inference worker that dies is replaced, and its requests are answered', async (t) => {
    const server = await start(t, { ...SLOW, ...KILLER })
    for (let round = 1; round <= 3; round++) {
      const responses = Array.from({ length: 10 }, (_, i) => predict(server, [i]))
      await untilWaiting(server, 5)
      server.process.kill('SIGUSR2')
      for (const [index, response] of (await Promise.all(responses)).entries())
        await assertRight(response, [index])
      await untilMetric(server, 'onnxpress_worker_restarts_total', round)
    }
    assert.equal((await fetch(`${server.url}/readyz`)).status, 200)
    await logged(server, ({ msg }) => /inference worker ended .* starting another/.test(String(msg)))
  })

  test('while the worker cannot be restarted, the server is not ready, and every request gets 503', async (t) => {
    const dir = join(mkdtempSync(join(tmpdir(), 'onnxpress-fault-')), 'model')
    cpSync(join(MODELS, 'linear'), dir, { recursive: true })
    const server = await start(t, { MODEL_DIR: dir, REQUEST_TIMEOUT_MS: '5000', ...KILLER })
    renameSync(join(dir, 'model.onnx'), join(dir, 'gone.onnx'))
    server.process.kill('SIGUSR2')
    await until(async () => (await fetch(`${server.url}/readyz`)).status === 503)
    assert.equal((await fetch(`${server.url}/ping`)).status, 500)
    assert.equal((await fetch(`${server.url}/v2/health/ready`)).status, 503)
    const refused = await Promise.all(Array.from({ length: 30 }, (_, i) => predict(server, [i])))
    for (const response of refused) {
      assert.equal(response.status, 503)
      assert.match(((await response.json()) as { detail: string }).detail, /cannot be loaded right now/)
    }
    assert.equal((await fetch(`${server.url}/livez`)).status, 200)
    const failures = () => server.log.filter((line) => /cannot be loaded on cpu: .*: trying again/.test(line))
    await until(() => failures().length > 1)
    const metrics = await metricsOf(server)
    assert.equal(metrics.get('onnxpress_worker_restarts_total'), 1)
    // probes are not among the requests without a prediction
    assert.equal(metrics.get('onnxpress_rejected_total{reason="busy"}'), refused.length)
    renameSync(join(dir, 'gone.onnx'), join(dir, 'model.onnx'))
    await until(async () => (await fetch(`${server.url}/readyz`)).status === 200)
    await assertRight(await predict(server, [5]), [9])
  })
})

describe('a graph that is replaced under a running server', () => {
  test('is not loaded by a new worker, which would use the old labels, but by SIGHUP', async (t) => {
    const dir = join(mkdtempSync(join(tmpdir(), 'onnxpress-replaced-')), 'model')
    cpSync(join(MODELS, 'linear'), dir, { recursive: true })
    const server = await start(t, { MODEL_DIR: dir, ...KILLER })
    cpSync(join(MODELS, 'number/model.onnx'), join(dir, 'new.onnx'))
    renameSync(join(dir, 'new.onnx'), join(dir, 'model.onnx'))
    await assertRight(await predict(server, [5]), [9])
    server.process.kill('SIGUSR2')
    await logged(server, ({ msg }) => /model\.onnx has changed since it was loaded/.test(String(msg)))
    assert.equal((await predict(server, [5])).status, 503)
    server.process.kill('SIGHUP')
    await logged(server, ({ msg }) => String(msg).startsWith('reloaded'))
    assert.equal((await fetch(`${server.url}/readyz`)).status, 200)
    const body = new URLSearchParams({ value: '5' })
    const response = await fetch(`${server.url}/predict`, { method: 'POST', body })
    assert.deepEqual(await response.json(), { input: 5, prediction: 10 })
  })
})

describe('logs and metrics', () => {
  test('the rehearsal leaves no log lines and no counts, with a token and without', async (t) => {
    const servers: Record<string, string>[] = [
      {},
      { API_TOKEN: 's3cret-token' },
      { MAX_QUEUE: '1', MAX_BATCH_SIZE: '1' },
      { MODEL_DIR: join(MODELS, 'linear') },
    ]
    for (const env of servers) {
      const server = await start(t, { LOG_LEVEL: 'debug', ...env })
      const metrics = await metricsOf(server, { authorization: 'Bearer s3cret-token' })
      const counted = [...metrics].filter(([name]) => /^onnxpress_\w+_(total|count)\b/.test(name))
      assert.deepEqual(
        counted.filter(([, value]) => value > 0),
        [],
      )
      const lines = server.log.map((line) => JSON.parse(line))
      assert.deepEqual(
        lines.filter(({ msg, path }) => /rehearsal/.test(msg) || (msg === 'request' && path !== '/metrics')),
        [],
      )
    }
  })

  test('each request has an id, sent or new, in the response and in the log', async (t) => {
    const server = await start(t, { MODEL_DIR: join(MODELS, 'linear') })
    const traceId = '4bf92f3577b34da6a3ce929d0e0e4736'
    const headers = { 'x-request-id': 'order-66', traceparent: `00-${traceId}-00f067aa0ba902b7-01` }
    const own = await predict(server, [5], { headers })
    assert.equal(own.headers.get('x-request-id'), 'order-66')
    const line = await logged(server, ({ requestId }) => requestId === 'order-66')
    assert.equal(line.msg, 'request')
    assert.equal(line.traceId, traceId)
    const { method, route, status, bytes, batchSize, label } = line
    assert.deepEqual(
      { method, route, status, bytes, batchSize, label },
      { method: 'POST', route: '/predict', status: 200, bytes: 4, batchSize: 1, label: '9' },
    )
    for (const key of ['ms', 'queueMs', 'inferenceMs']) assert.ok(line[key] > 0, key)
    assert.match(own.headers.get('server-timing')!, /^queue;dur=[\d.]+, inference;dur=[\d.]+$/)

    for (const path of ['/nothing', '/livez', '/predict', '/v2', '/models/linear', '/docs']) {
      const response = await fetch(server.url + path, { headers: { 'x-request-id': 'bad id"' } })
      assert.match(response.headers.get('x-request-id')!, /^[0-9a-f-]{36}$/, path)
    }
    await until(() => server.log.some((text) => text.includes('"/docs"')))
    assert.ok(
      server.log.every((text) => !text.includes('/livez')),
      'probes are logged on debug only',
    )
  })

  test('every stage of an image request is timed', async (t) => {
    const server = await start(t)
    const body = new Uint8Array(readFileSync(join(ROOT, 'models/mnist/sample.png')))
    const response = await fetch(`${server.url}/predict`, { method: 'POST', body })
    assert.match(response.headers.get('server-timing')!, /^preprocess;dur=.*, queue;dur=.*, inference;dur=/)
    const metrics = await metricsOf(server)
    assert.equal(metrics.get('onnxpress_preprocess_duration_seconds_count'), 1)
    assert.equal(metrics.get('onnxpress_batch_size_sum'), 1)
    assert.equal(metrics.get('onnxpress_queue_wait_seconds_count'), 1)
    assert.equal(metrics.get('onnxpress_inference_duration_seconds_count'), 1)
    assert.equal(metrics.get('onnxpress_requests_in_flight'), 0)
    assert.ok(metrics.has('process_resident_memory_bytes'))
    const busy = metrics.get('nodejs_eventloop_utilization')!
    assert.ok(busy > 0 && busy < 1, `the event loop was busy for ${busy} of the time`)
    const info = [...metrics.keys()].find((name) => name.startsWith('onnxpress_model_info'))!
    assert.match(info, /name="mnist",version="1",device="cpu",sha256="[0-9a-f]{64}"/)
  })

  test('promtool accepts the metrics', {
    skip: spawnSync('promtool', ['--version']).error && 'there is no promtool',
  }, async (t) => {
    const server = await start(t, { MODEL_DIR: join(MODELS, 'linear') })
    await predict(server, [5])
    const input = await (await fetch(`${server.url}/metrics`)).text()
    const { status, stderr } = spawnSync('promtool', ['check', 'metrics'], { input, encoding: 'utf8' })
    assert.deepEqual([status, stderr], [0, ''])
  })

  test('the dashboard and the alerts use only metrics that exist', async (t) => {
    const server = await start(t, { MODEL_DIR: join(MODELS, 'linear') })
    await predict(server, [5])
    const text = await (await fetch(`${server.url}/metrics`)).text()
    const known = new Set([...text.matchAll(/^(?:# TYPE )?(\w+)/gm)].map(([, name]) => name))
    for (const file of ['deploy/grafana.json', 'deploy/alerts.yml']) {
      const used = readFileSync(join(ROOT, file), 'utf8').match(/\b(?:onnxpress|nodejs|process)_[a-z0-9_]+/g)!
      assert.ok(used.length > 5)
      for (const name of used) assert.ok(known.has(name), `${file}: ${name}`)
    }
  })

  test('requests are counted by route pattern, not by path', async (t) => {
    const server = await start(t, { MODEL_DIR: join(MODELS, 'linear') })
    for (let i = 0; i < 20; i++) {
      await fetch(`${server.url}/made/up/${i}`)
      await fetch(`${server.url}/predictions/made-up-${i}`, { method: 'POST', body: '1' })
    }
    const names = [...(await metricsOf(server)).keys()].filter((name) =>
      name.startsWith('onnxpress_requests_total'),
    )
    assert.deepEqual(names.sort(), [
      'onnxpress_requests_total{route="/predictions/:model",method="POST",status="404"}',
      'onnxpress_requests_total{route="none",method="GET",status="404"}',
    ])
  })

  test("helmet's headers, a policy without inline scripts, no token in the log", async (t) => {
    const server = await start(t, { API_TOKEN: 's3cret-token' })
    const response = await fetch(`${server.url}/model`, { headers: { authorization: 'Bearer s3cret-token' } })
    assert.equal(response.headers.get('x-content-type-options'), 'nosniff')
    assert.match(response.headers.get('content-security-policy')!, /^default-src 'self';/)
    assert.doesNotMatch(response.headers.get('content-security-policy')!, /unsafe/)
    assert.equal(response.headers.get('x-powered-by'), null)
    await logged(server, ({ path }) => path === '/model')
    assert.ok(server.log.every((line) => !line.includes('s3cret')))
  })
})

describe('WEB_CONCURRENCY', () => {
  test('processes share the port, are replaced, counted together and stopped together', async () => {
    const server = await startServer({ env: { MODEL_DIR: join(MODELS, 'linear'), WEB_CONCURRENCY: '2' } })
    await until(() => server.log.filter((line) => line.includes('serving')).length === 2)
    const pidOf = async () => {
      const response = await fetch(`${server.url}/models/linear`, { headers: { connection: 'close' } })
      const [{ workers }] = (await response.json()) as [{ workers: [{ pid: number }] }]
      return workers[0].pid
    }
    const pids = new Set<number>()
    await until(async () => pids.add(await pidOf()).size === 2)
    assert.ok(!pids.has(server.process.pid!))

    for (let i = 0; i < 10; i++) {
      await assertRight(await predict(server, [i], { headers: { connection: 'close' } }), [2 * i - 1])
    }
    const counted = 'onnxpress_requests_total{route="/predict",method="POST",status="200"}'
    await untilMetric(server, counted, 10)

    const [victim] = pids
    process.kill(victim, 'SIGKILL')
    await logged(server, ({ msg }) => String(msg).startsWith(`process ${victim} ended with SIGKILL`))
    await until(() => server.log.filter((line) => line.includes('serving')).length === 3)
    await assertRight(await predict(server, [5]), [9])

    server.process.kill('SIGHUP')
    await until(() => server.log.filter((line) => line.includes('reloaded')).length === 2)
    await assertRight(await predict(server, [5]), [9])
    assert.equal(await server.stop(), 0)
  })

  test('metrics that the supervisor does not add up in time are a 504', { timeout: 10_000 }, async (t) => {
    const env = { MODEL_DIR: join(MODELS, 'linear'), WEB_CONCURRENCY: '2', REQUEST_TIMEOUT_MS: '500' }
    const server = await start(t, env)
    // one connection, which the supervisor need not accept again
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    t.after(() => agent.destroy())
    const get = (path: string) => getThrough(agent, server.url + path)
    assert.equal((await get('/livez')).statusCode, 200)
    server.process.kill('SIGSTOP')
    const { statusCode } = await get('/metrics').finally(() => server.process.kill('SIGCONT'))
    assert.equal(statusCode, 504)
  })

  test('a signal to the whole group, as systemd sends it, lets open requests finish', async () => {
    const server = await startServer({ env: { ...SLOW, WEB_CONCURRENCY: '2' }, detached: true })
    await until(() => server.log.filter((line) => line.includes('serving')).length === 2)
    const work = predict(
      server,
      Array.from({ length: 20 }, (_, i) => i),
    )
    await untilWaiting(server, 10)
    const exited = once(server.process, 'exit')
    server.process.ref()
    process.kill(-server.process.pid!, 'SIGTERM')
    await assertRight(
      await work,
      Array.from({ length: 20 }, (_, i) => i),
    )
    assert.equal((await exited)[0], 0)
  })

  test('more processes than cores are started, with a warning', async (t) => {
    const processes = availableParallelism() + 1
    const server = await start(t, { MODEL_DIR: join(MODELS, 'linear'), WEB_CONCURRENCY: String(processes) })
    await until(() => server.log.filter((line) => line.includes('serving')).length === processes)
    await assertRight(await predict(server, [5]), [9])
    const lines = server.log.map((line) => JSON.parse(line))
    const warnings = lines.filter(({ level }) => level === 40).map(({ msg }) => msg)
    assert.equal(warnings.length, 1)
    assert.match(warnings[0], new RegExp(`^WEB_CONCURRENCY=${processes}: .* set ${processes - 1} or less$`))
  })

  test('a signal while processes are starting ends them all', async (t) => {
    const child = spawn(process.execPath, ['server.js'], {
      cwd: ROOT,
      env: { PATH: process.env.PATH, PORT: '0', WEB_CONCURRENCY: '3' },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    t.after(() => child.kill('SIGKILL'))
    await new Promise<void>((resolve) => {
      createInterface(child.stdout).on('line', (line) => {
        if (/serving/.test(line)) resolve() // the other two are still starting
      })
    })
    child.kill('SIGTERM')
    assert.deepEqual(await once(child, 'exit'), [0, null])
  })

  test('a process that is killed before it is ready stops the primary with one line', async () => {
    const dying = 'data:text/javascript,if(process.send)process.kill(process.pid,9)'
    const env = { WEB_CONCURRENCY: '2', NODE_OPTIONS: `--import=${dying}` }
    const { code, stderr } = await run(['server.js'], env)
    assert.equal(code, 1)
    assert.match(
      stderr,
      /^onnxpress: process \d+ ended with SIGKILL before it was ready: check the memory limit\n$/,
    )
  })

  test('a process that cannot start stops the primary with one line and exit code 1', async () => {
    const { code, stderr } = await run(['server.js'], { MODEL_DIR: 'nowhere', WEB_CONCURRENCY: '3' })
    assert.equal(code, 1)
    assert.match(stderr, /^onnxpress: MODEL_DIR=nowhere: there is no folder[^\n]*\n$/)
  })
})
