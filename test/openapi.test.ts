import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { createConfig, lintFromString } from '@redocly/openapi-core'
import { Metrics } from '../lib/http/metrics.ts'
import { createLog } from '../lib/log/log.ts'
import { createWorkers } from '../lib/process/main.ts'
import { readSettings, type Settings } from '../lib/process/settings.ts'
import { loadModel, type Model } from '../model.ts'
import { createApp } from '../server.ts'
import { ROOT, type RunningServer, startServer } from './running_server.ts'

const MODELS = join(ROOT, 'test/fixtures/models')

interface Operation {
  operationId: string
  parameters: { in: string; name: string; example?: string }[]
  requestBody?: { content: Record<string, { schema: { $ref?: string }; example?: unknown }> }
  responses: Record<string, { content?: Record<string, unknown>; $ref?: string }>
  security?: unknown[]
}

interface Document {
  info: { title: string; description: string }
  paths: Record<string, Record<string, Operation>>
  components: { responses: Record<string, { content: Record<string, unknown> }> }
}

async function documentOf(server: RunningServer, headers = {}): Promise<Document> {
  const response = await fetch(`${server.url}/openapi.json`, { headers })
  assert.equal(response.status, 200)
  return (await response.json()) as Document
}

const IMAGE = readFileSync(join(ROOT, 'models/mnist/sample.png'))

/** An operation's example body; undefined if only the model's own numbers would be valid. */
function exampleOf(requestBody: Operation['requestBody']): string | FormData | undefined {
  const [{ schema, example }] = Object.values(requestBody?.content ?? { none: { schema: {} } })
  if (example) return JSON.stringify(example)
  if (schema.$ref !== '#/components/schemas/ImageForm') return undefined
  const form = new FormData()
  form.set('image', new Blob([IMAGE]))
  return form
}

/** Every method and path of an Express app, as OpenAPI writes them, its nested routers included. */
function routesOf(router: { stack: unknown[] }): string[] {
  type Layer = {
    route?: { path: string | string[]; methods: Record<string, boolean> }
    handle: { stack?: unknown[] }
  }
  return (router.stack as Layer[]).flatMap(({ route, handle }) => {
    if (!route) return handle.stack ? routesOf(handle as { stack: unknown[] }) : []
    const methods = Object.keys(route.methods).filter((method) => method !== '_all')
    return [route.path].flat().flatMap((path) => {
      const written = path.replace(/(?<!\\):(\w+)/g, '{$1}').replaceAll('\\', '')
      return methods.map((method) => `${method} ${written}`)
    })
  })
}

test('the document has exactly the routes of the app', async () => {
  const settings: Settings = readSettings({ LOG_LEVEL: 'silent' })
  const metrics = new Metrics()
  const model: Model = await loadModel(settings.MODEL_DIR, settings, { note: assert.fail })
  const workers = createWorkers(settings, () => metrics)
  const readMetrics = () => metrics.registry.metrics()
  const log = await createLog('silent')
  const app = createApp({ model, workers, settings, log, metrics, readMetrics, isReady: () => true }).express
  const server = await startServer()
  const { paths } = await documentOf(server)
  const described = Object.entries(paths).flatMap(([path, operations]) =>
    Object.keys(operations).map((method) => `${method} ${path}`),
  )
  // files that pages load are not part of the API
  const routes = routesOf(app.router as unknown as { stack: unknown[] }).filter(
    (route) => !/^post .*:(classify|regress)$|^get \/(docs\/[\w-]+|\w+)\.(css|m?js)$/.test(route),
  )
  assert.ok(routes.length > 30)
  assert.deepEqual(described.sort(), routes.sort())
  await Promise.all([server.stop(), model.close(), workers.close()])
})

for (const name of ['mnist', 'linear', 'faces', 'outputs', 'features', 'any_size']) {
  describe(`the document for ${name}`, () => {
    let server: RunningServer
    let document: Document
    before(async () => {
      const env = { MODEL_DIR: name === 'mnist' ? '' : join(MODELS, name) }
      server = await startServer({
        env: { ...env, AIP_HEALTH_ROUTE: '/up', AIP_PREDICT_ROUTE: '/vertex:predict' },
      })
      document = await documentOf(server)
    })
    after(() => server.stop())

    test('passes the linter', async () => {
      const config = await createConfig({ extends: ['recommended'] })
      const problems = await lintFromString({ source: JSON.stringify(document), config })
      assert.deepEqual(
        problems
          .filter(({ severity }) => severity === 'error')
          .map(({ message, location }) => `${message} ${location[0].pointer}`),
        [],
      )
    })

    test('every operation responds as documented to its own examples', async () => {
      for (const [path, operations] of Object.entries(document.paths)) {
        for (const [method, { parameters, requestBody, responses, operationId }] of Object.entries(
          operations,
        )) {
          const named = path.replace(/\{(\w+)\}/g, (_, key) => {
            return parameters.find((parameter) => parameter.name === key)!.example!
          })
          const body = exampleOf(requestBody)
          const isJson = typeof body === 'string'
          const response = await fetch(server.url + named, {
            method: method.toUpperCase(),
            body,
            headers: isJson ? { 'content-type': 'application/json' } : {},
          })
          const documented = responses[response.status]
          assert.ok(documented, `${operationId} answered ${response.status}`)
          const { content } = documented.$ref
            ? document.components.responses[documented.$ref.split('/').at(-1)!]
            : documented
          const [type] = response.headers.get('content-type')!.split(';')
          assert.ok(content?.[type], `${operationId}: ${response.status} ${type}`)
          // a folder without a sample; a tensor is not preprocessed
          const mayFail = operationId === 'get_model_sample' || (operationId === 'post_preprocess' && isJson)
          if (!mayFail && (body || !requestBody)) assert.equal(response.status, 200, operationId)
        }
      }
    })
  })
}

test('the document has the limits, but neither the labels nor the name of the model in its schemas', async () => {
  const server = await startServer({
    env: { MODEL_DIR: join(MODELS, 'fashion'), MAX_UPLOAD_MB: '3', MAX_PIXELS: '1234567' },
  })
  const { info, components } = await documentOf(server)
  assert.equal(info.title, 'onnxpress')
  assert.match(info.description, /fashion.*3145728 bytes.*1234567 pixels/)
  const { id2label } = JSON.parse(readFileSync(join(MODELS, 'fashion/config.json'), 'utf8'))
  for (const label of ['fashion', ...Object.values(id2label)]) {
    assert.ok(!JSON.stringify(components).includes(`"${label}"`), `${label}`)
  }
  await server.stop()
})

test('with a token, the document requires it, except for open routes', async () => {
  const server = await startServer({ env: { API_TOKEN: 'secret' } })
  assert.equal((await fetch(`${server.url}/openapi.json`)).status, 401)
  const { paths } = await documentOf(server, { authorization: 'Bearer secret' })
  for (const [path, operations] of Object.entries(paths)) {
    for (const [method, { security, responses }] of Object.entries(operations)) {
      const { status } = await fetch(server.url + path, { method: method.toUpperCase() })
      assert.equal(status === 401, security === undefined, path)
      assert.equal('401' in responses, security === undefined, path)
    }
  }
  await server.stop()
})

test('/docs loads everything from this server', async () => {
  const server = await startServer()
  const page = await fetch(`${server.url}/docs`)
  const html = await page.text()
  assert.match(page.headers.get('content-security-policy')!, /default-src 'self'/)
  const links = [...html.matchAll(/(?:src|href)="([^"]+)"/g)].map(([, link]) => link)
  assert.ok(links.length >= 4)
  for (const link of links) {
    if (link.startsWith('data:')) continue
    const response = await fetch(new URL(link, `${server.url}/docs`))
    assert.equal(response.status, 200, link)
    assert.equal(new URL(link, `${server.url}/docs`).origin, server.url)
  }
  assert.doesNotMatch(html, /<script(?![^>]*src=)/)
  assert.equal((await fetch(`${server.url}/docs/package.json`)).status, 404)
  assert.equal((await fetch(`${server.url}/docs/..%2fpackage.json`)).status, 404)
  await server.stop()
})
