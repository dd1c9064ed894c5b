import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { ROOT, type RunningServer, startServer } from './running_server.ts'

const SWAGGER_UI = join(ROOT, 'node_modules/swagger-ui-dist')

const FILES: [path: string, file: string, type: string][] = [
  ['/', join(ROOT, 'public/index.html'), 'text/html; charset=utf-8'],
  ['/page.css', join(ROOT, 'public/page.css'), 'text/css; charset=utf-8'],
  ['/page.mjs', join(ROOT, 'public/page.mjs'), 'text/javascript; charset=utf-8'],
  ['/docs', join(ROOT, 'public/docs.html'), 'text/html; charset=utf-8'],
  ['/docs/docs.mjs', join(ROOT, 'public/docs.mjs'), 'text/javascript; charset=utf-8'],
  ['/docs/swagger-ui.css', join(SWAGGER_UI, 'swagger-ui.css'), 'text/css; charset=utf-8'],
  ['/docs/swagger-ui-bundle.js', join(SWAGGER_UI, 'swagger-ui-bundle.js'), 'text/javascript; charset=utf-8'],
  ['/model/sample', join(ROOT, 'models/mnist/sample.png'), 'image/png'],
  ['/model/samples/3-marker.png', join(ROOT, 'models/mnist/samples/3-marker.png'), 'image/png'],
]

describe('static files', () => {
  let server: RunningServer
  before(async () => {
    server = await startServer()
  })
  after(() => server.stop())

  for (const [path, file, type] of FILES) {
    test(`${path}: GET, HEAD, and a conditional request`, async () => {
      const bytes = readFileSync(file)
      const headers = { accept: 'text/html, */*;q=0.8', 'accept-encoding': 'identity' }
      const get = await fetch(server.url + path, { headers })
      assert.ok(Buffer.from(await get.arrayBuffer()).equals(bytes))
      const head = await fetch(server.url + path, { method: 'HEAD', headers })
      for (const { status, headers } of [get, head]) {
        assert.equal(status, 200)
        assert.equal(headers.get('content-type'), type)
        assert.equal(headers.get('content-length'), String(bytes.length))
        assert.equal(headers.get('cache-control'), 'public, max-age=0')
      }
      assert.match(get.headers.get('content-security-policy')!, /^default-src 'self';/)
      const modified = get.headers.get('last-modified')!
      const ask = (since: string) =>
        fetch(server.url + path, {
          headers: { ...headers, 'if-modified-since': since, 'cache-control': 'max-age=0' },
        })
      assert.equal((await ask(modified)).status, 304)
      assert.equal((await ask(new Date(0).toUTCString())).status, 200)
    })
  }

  test('text is compressed for clients that accept it', async () => {
    const { headers } = await fetch(`${server.url}/page.mjs`, { headers: { 'accept-encoding': 'gzip' } })
    assert.equal(headers.get('content-encoding'), 'gzip')
    assert.match(headers.get('vary')!, /accept-encoding/i)
    assert.ok(Number(headers.get('content-length')) < readFileSync(join(ROOT, 'public/page.mjs')).length / 2)
  })

  test('clients that request files and disconnect without reading leave no file open', {
    skip: existsSync('/proc/self/fd') ? false : 'needs /proc',
  }, async () => {
    const openFiles = () => readdirSync(`/proc/${server.process.pid}/fd`).length
    const { hostname, port } = new URL(server.url)
    const before = openFiles()
    const clients = Array.from({ length: 50 }, async () => {
      const socket = connect(Number(port), hostname).on('error', () => {})
      await once(socket, 'connect')
      socket.pause()
      socket.write('GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: localhost\r\n\r\n'.repeat(40))
      return socket
    })
    const sockets = await Promise.all(clients)
    while (openFiles() - before <= sockets.length) await setTimeout(20) // more than the connections
    for (const socket of sockets) socket.destroy()
    while (openFiles() - before >= 10) await setTimeout(20) // until the runner's timeout
  })
})
