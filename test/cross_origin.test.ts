import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { readSettings } from '../lib/process/settings.ts'
import { launchBrowser, NO_BROWSER } from './browser.ts'
import { ROOT, startServer } from './running_server.ts'

const SAMPLE = readFileSync(join(ROOT, 'models/mnist/sample.png'))
const ORIGIN = 'https://shop.example'
const PREFLIGHT = {
  origin: ORIGIN,
  'access-control-request-method': 'POST',
  'access-control-request-headers': 'authorization,content-type',
}

const allowedOrigin = ({ headers }: Response) => headers.get('access-control-allow-origin')

test('without CORS_ORIGINS nothing is allowed, and a preflight is an OPTIONS request like any other', async () => {
  const server = await startServer()
  const preflight = await fetch(`${server.url}/predict`, { method: 'OPTIONS', headers: PREFLIGHT })
  assert.equal(preflight.status, 204)
  assert.equal(preflight.headers.get('allow'), 'POST, PUT, OPTIONS')
  assert.equal(allowedOrigin(preflight), null)
  const headers = { origin: ORIGIN }
  const response = await fetch(`${server.url}/predict`, { method: 'POST', body: SAMPLE, headers })
  assert.equal(response.status, 403)
  assert.match(await response.text(), /CORS_ORIGINS/)
  assert.equal(response.headers.get('vary'), null)
  await server.stop()
})

test('an allowed origin passes with a token; every response and error has the CORS headers', async () => {
  const server = await startServer({
    env: { CORS_ORIGINS: `http://localhost:3000, ${ORIGIN}`, API_TOKEN: 'secret' },
  })
  for (const path of ['/predict', '/v2/models/mnist/infer', '/v1/models/mnist:predict']) {
    const preflight = await fetch(server.url + path, { method: 'OPTIONS', headers: PREFLIGHT })
    assert.equal(preflight.status, 204)
    assert.equal(allowedOrigin(preflight), ORIGIN)
    assert.match(preflight.headers.get('access-control-allow-methods')!, /POST/)
    assert.equal(preflight.headers.get('access-control-allow-headers'), 'authorization,content-type')
  }
  const ask = (path: string, headers: Record<string, string>, body?: Buffer) =>
    fetch(server.url + path, { method: body ? 'POST' : 'GET', headers: { origin: ORIGIN, ...headers }, body })
  const authorization = 'Bearer secret'
  for (const [response, status] of [
    [await ask('/predict', { authorization }, SAMPLE), 200],
    [await ask('/predict', { authorization }, Buffer.from('?')), 415],
    [await ask('/predict', {}, SAMPLE), 401],
    [await ask('/model', { authorization }), 200],
    [await ask('/nothing', { authorization }), 404],
  ] as const) {
    assert.equal(response.status, status)
    assert.equal(allowedOrigin(response), ORIGIN)
    assert.match(response.headers.get('access-control-expose-headers')!, /x-request-id,server-timing/)
    assert.match(response.headers.get('vary')!, /origin/i)
  }
  for (const origin of [
    'https://evil.example',
    'http://shop.example',
    'https://shop.example.evil.example',
    'null',
  ]) {
    const response = await ask('/predict', { authorization, origin }, SAMPLE)
    assert.equal(response.status, 403, origin)
    assert.equal(allowedOrigin(response), null)
  }
  const plain = await fetch(`${server.url}/predict`, { method: 'OPTIONS', headers: { authorization } })
  assert.equal(plain.headers.get('allow'), 'POST, PUT, OPTIONS')
  await server.stop()
})

test('* allows every origin, but no foreign Host', async () => {
  const server = await startServer({ env: { CORS_ORIGINS: '*' } })
  const headers = { origin: ORIGIN }
  const response = await fetch(`${server.url}/predict`, { method: 'POST', body: SAMPLE, headers })
  assert.equal(response.status, 200)
  assert.equal(allowedOrigin(response), '*')
  const { hostname, port } = new URL(server.url)
  const foreign = { hostname, port, path: '/predict', method: 'POST' }
  const asked = request({ ...foreign, headers: { ...headers, host: 'evil.example' } }).end(SAMPLE)
  const [{ statusCode }] = await once(asked, 'response')
  assert.equal(statusCode, 421)
  await server.stop()
})

test('a 503 of a full queue has the CORS headers', async () => {
  const server = await startServer({
    env: { CORS_ORIGINS: ORIGIN, MAX_QUEUE: '1', MAX_BATCH_DELAY_MS: '10000' },
  })
  const options = { method: 'POST', body: SAMPLE, headers: { origin: ORIGIN } }
  const controller = new AbortController()
  const waiting = fetch(`${server.url}/predict?dims=1,28,28`, {
    ...options,
    body: new Uint8Array(3136),
    signal: controller.signal,
  })
  const metrics = async () => (await fetch(`${server.url}/metrics`)).text()
  while (!(await metrics()).includes('\nonnxpress_queue_samples 1\n')) await setTimeout(5)
  const refused = await fetch(`${server.url}/predict`, options)
  assert.equal(refused.status, 503)
  assert.equal(allowedOrigin(refused), ORIGIN)
  assert.match(refused.headers.get('access-control-expose-headers')!, /retry-after/)
  controller.abort()
  await assert.rejects(waiting)
  await server.stop()
})

test('CORS_ORIGINS takes origins, not URLs or host names', async () => {
  const value = 'https://Shop.example, http://localhost:3000,'
  assert.deepEqual(readSettings({ CORS_ORIGINS: value }).CORS_ORIGINS, [ORIGIN, 'http://localhost:3000'])
  for (const wrong of [
    'shop.example',
    'https://shop.example/',
    'https://*.shop.example',
    'https://a:443',
    'null',
  ]) {
    assert.throws(() => readSettings({ CORS_ORIGINS: wrong }), /expected \* or origins such as https:/)
  }
})

test('a browser on a page of another origin classifies an image', { skip: NO_BROWSER }, async () => {
  const site = createServer((_req, res) => res.setHeader('content-type', 'text/html').end('<p>shop')).listen(
    0,
  )
  await once(site, 'listening')
  const origin = `http://localhost:${(site.address() as AddressInfo).port}`
  const server = await startServer({ env: { CORS_ORIGINS: origin, API_TOKEN: 'secret' } })
  const browser = await launchBrowser()
  const page = await browser.newPage()
  await page.goto(origin)
  const base64 = JSON.stringify(SAMPLE.toString('base64'))
  const result = await page.evaluate(`(async () => {
    const body = Uint8Array.from(atob(${base64}), (character) => character.charCodeAt(0))
    const headers = { authorization: 'Bearer secret' }
    const response = await fetch('${server.url}/predict', { method: 'PUT', body, headers })
    const { label } = await response.json()
    return { label, id: response.headers.get('x-request-id'), timing: response.headers.get('server-timing') }
  })()`)
  const { label, id, timing } = result as Record<string, string>
  assert.equal(label, '2')
  assert.match(id, /^[\da-f-]{36}$/)
  assert.match(timing, /inference;dur=/)
  await browser.close()
  await server.stop()
  site.close()
})
