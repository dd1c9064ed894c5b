import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { connect } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { readSettings } from '../lib/process/settings.ts'
import { isLoopback } from '../lib/security/allowed_hosts.ts'
import { ROOT, type RunningServer, run, startServer } from './running_server.ts'

const MODEL_DIR = join(ROOT, 'test/fixtures/models/linear')

/** Send exactly these headers; `fetch` would replace the Host header. */
async function ask(server: RunningServer, method: string, path: string, headers: Record<string, string>) {
  const req = request(server.url.replace('0.0.0.0', '127.0.0.1') + path, { method, headers })
  req.end(method === 'GET' ? undefined : Buffer.from(Float32Array.of(5).buffer))
  const [response] = (await once(req, 'response')) as [IncomingMessage]
  let text = ''
  for await (const chunk of response.setEncoding('utf8')) text += chunk
  return { status: response.statusCode, type: response.headers['content-type'], text }
}

const PREDICT = '/predict?dims=1,1'

describe('on a loopback address', () => {
  let server: RunningServer
  before(async () => {
    server = await startServer({ env: { MODEL_DIR, ALLOWED_HOSTS: 'Models.example.com, intern' } })
  })
  after(() => server.stop())

  for (const host of [
    'localhost',
    'localhost:1234',
    'LOCALHOST.',
    'digits.localhost:80',
    '127.0.0.1',
    '127.8.9.10:8890',
    '[::1]',
    '[::1]:8890',
    'models.example.com',
    'models.example.com:443',
    'intern',
  ]) {
    test(`Host: ${host} is accepted`, async () => {
      assert.equal((await ask(server, 'GET', '/model', { host })).status, 200)
      assert.equal((await ask(server, 'POST', PREDICT, { host })).status, 200)
    })
  }

  for (const host of [
    'evil.example',
    'evil.example:8890',
    'localhost.evil.example',
    '127.0.0.1.evil.example',
    '127.evil.example',
    'evilmodels.example.com',
    '0.0.0.0:8890',
    '192.168.1.1',
    '[::2]',
    'localhost@evil.example',
  ]) {
    test(`Host: ${host} gets 421`, async () => {
      for (const path of ['/', '/model', '/livez', '/metrics', '/model/sample']) {
        const { status, type, text } = await ask(server, 'GET', path, { host })
        assert.equal(status, 421, path)
        assert.match(type!, /^application\/problem\+json/)
        assert.match(JSON.parse(text).detail, /ALLOWED_HOSTS/)
      }
      assert.equal((await ask(server, 'POST', PREDICT, { host })).status, 421)
    })
  }

  test('an HTTP/1.0 request without a Host header is accepted', async () => {
    const { hostname, port } = new URL(server.url)
    const socket = connect(Number(port), hostname)
    socket.write('GET /model HTTP/1.0\r\n\r\n')
    let text = ''
    for await (const chunk of socket.setEncoding('latin1')) text += chunk
    assert.match(text, /^HTTP\/1\.1 200 /)
  })

  for (const [what, headers, status] of [
    ["the server's own page", (host: string) => ({ origin: `http://${host}` }), 200],
    ['a page on this machine', () => ({ origin: 'http://localhost:3000' }), 200],
    ['a page on this machine, by another name', () => ({ origin: 'http://127.0.0.1:3000' }), 200],
    ['a page of an allowed host', () => ({ origin: 'https://models.example.com' }), 200],
    ['a script', () => ({}), 200],
    ['a page with same-origin in Sec-Fetch-Site alone', () => ({ 'sec-fetch-site': 'same-origin' }), 200],
    ['a page of another site', () => ({ origin: 'https://evil.example' }), 403],
    [
      'a page of another site whose name looks local',
      () => ({ origin: 'http://localhost.evil.example' }),
      403,
    ],
    ['a sandboxed frame', () => ({ origin: 'null' }), 403],
    ['a page with cross-site in Sec-Fetch-Site alone', () => ({ 'sec-fetch-site': 'cross-site' }), 403],
  ] as [string, (host: string) => Record<string, string>, number][]) {
    test(`a POST or PUT from ${what} gets ${status}`, async () => {
      const all = headers(new URL(server.url).host)
      for (const method of ['POST', 'PUT']) {
        const response = await ask(server, method, PREDICT, all)
        assert.equal(response.status, status, response.text)
        if (status === 403) assert.match(response.type!, /^application\/problem\+json/)
      }
      assert.equal((await ask(server, 'GET', '/model', all)).status, 200)
    })
  }

  test('refusals are counted by reason', async () => {
    const { text } = await ask(server, 'GET', '/metrics', {})
    assert.match(text, /^onnxpress_rejected_total\{reason="host"\} [1-9]/m)
    assert.match(text, /^onnxpress_rejected_total\{reason="origin"\} [1-9]/m)
  })
})

describe('on every interface', () => {
  test('no header is refused', async (t) => {
    const server = await startServer({ env: { MODEL_DIR, HOST: '0.0.0.0' } })
    t.after(() => server.stop())
    const headers = { host: 'anything.example', origin: 'https://elsewhere.example' }
    assert.equal((await ask(server, 'GET', '/model', headers)).status, 200)
    assert.equal((await ask(server, 'POST', PREDICT, headers)).status, 200)
  })

  test('with ALLOWED_HOSTS, other hosts get 421, but probes are answered', async (t) => {
    const env = {
      MODEL_DIR,
      HOST: '0.0.0.0',
      ALLOWED_HOSTS: 'models.example.com',
      AIP_HEALTH_ROUTE: '/healthy',
    }
    const server = await startServer({ env })
    t.after(() => server.stop())
    for (const path of ['/livez', '/readyz', '/ping', '/v2/health/live', '/v2/health/ready', '/healthy'])
      assert.equal((await ask(server, 'GET', path, { host: '10.1.2.3:8890' })).status, 200, path)
    assert.equal((await ask(server, 'POST', PREDICT, { host: '10.1.2.3:8890' })).status, 421)
    assert.equal((await ask(server, 'POST', PREDICT, { host: 'models.example.com' })).status, 200)
    const origin = 'https://elsewhere.example'
    assert.equal((await ask(server, 'POST', PREDICT, { host: 'models.example.com', origin })).status, 200)
  })
})

test('ALLOWED_HOSTS takes host names, not URLs', async () => {
  assert.deepEqual(readSettings({ ALLOWED_HOSTS: 'A.example, b,' }).ALLOWED_HOSTS, ['a.example', 'b'])
  for (const value of ['https://a.example', 'a.example:80', 'a b', '*'])
    assert.throws(() => readSettings({ ALLOWED_HOSTS: value }), /expected host names, separated by commas/)
})

test('a mounted app checks nothing unless ALLOWED_HOSTS is set', async () => {
  const script = `(async () => {
    const { default: express } = await import('express')
    const { createApp, loadModel } = await import('./index.js')
    const model = await loadModel(${JSON.stringify(MODEL_DIR)}, { LOG_LEVEL: 'silent' })
    const statuses = []
    for (const settings of [{}, { ALLOWED_HOSTS: ['models.example.com'] }, { HOST: '127.0.0.1' }]) {
      const app = await createApp(model, settings)
      const server = express().use('/m', app).listen(0, '127.0.0.1')
      await new Promise((resolve) => server.once('listening', resolve))
      for (const host of ['evil.example', 'models.example.com']) {
        const url = 'http://127.0.0.1:' + server.address().port + '/m/model'
        const options = { headers: { host } }
        const response = await new Promise((resolve) => require('http').request(url, options, resolve).end())
        statuses.push(response.statusCode)
      }
    }
    console.log(statuses.join())
    process.exit()
  })()`
  const { stdout, stderr } = await run(['-e', script])
  assert.equal(stdout, '200,200,421,200,421,421\n', stderr)
})

test('loopback names and addresses', () => {
  for (const host of ['localhost', 'a.localhost', '127.0.0.1', '127.1.2.3', '::1', '[::1]'])
    assert.ok(isLoopback(host), host)
  for (const host of ['', '0.0.0.0', '::', '127.evil', 'localhost.evil', '10.0.0.1'])
    assert.ok(!isLoopback(host), host)
})
