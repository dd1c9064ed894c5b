import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, request } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import express from 'express'
import type { Browser, Page } from 'playwright-core'
import { createApp, loadModel } from '../index.ts'
import { launchBrowser, NO_BROWSER } from './browser.ts'
import { ROOT, type RunningServer, startServer } from './running_server.ts'

const SAMPLE = join(ROOT, 'models/mnist/sample.png')

/** Open the documentation; an error in it fails the test. */
async function open(browser: Browser, url: string): Promise<Page> {
  const page = await browser.newPage()
  page.setDefaultTimeout(60_000)
  page.on('pageerror', (error) => assert.fail(error))
  page.on('console', (message) => {
    if (message.type() === 'error') assert.fail(message.text())
  })
  page.on('request', (sent) => assert.equal(new URL(sent.url()).origin, new URL(url).origin))
  await page.goto(url)
  await page.locator('#operations-onnxpress-post_predict.is-open').waitFor()
  return page
}

/** Choose an image, and execute. */
async function tryImage(page: Page): Promise<{ url: string; result: string }> {
  const predict = page.locator('#operations-onnxpress-post_predict')
  await predict.locator('input[type=file]').setInputFiles(SAMPLE)
  await predict.getByRole('button', { name: 'Execute' }).click()
  await predict.locator('.live-responses-table .response-col_status').getByText('200').waitFor()
  const url = await predict.locator('.request-url pre').innerText()
  return { url, result: await predict.locator('.live-responses-table .highlight-code').first().innerText() }
}

describe('/docs', { skip: NO_BROWSER }, () => {
  let browser: Browser
  let server: RunningServer
  before(async () => {
    browser = await launchBrowser()
    server = await startServer()
  })
  after(async () => {
    await browser.close()
    await server.stop()
  })

  test("our own routes are open, other protocols' closed, and an image is classified with two clicks", async () => {
    const page = await open(browser, `${server.url}/docs`)
    const sections = (await page.evaluate(
      `[...document.querySelectorAll('.opblock-tag')].map(({ dataset }) => [dataset.tag, dataset.isOpen])`,
    )) as string[][]
    const [[first, isOpen], ...others] = sections
    assert.deepEqual([first, isOpen], ['onnxpress', 'true'])
    assert.ok(others.length > 3)
    for (const [name, isOpen] of others) assert.equal(isOpen, 'false', name)
    const { url, result } = await tryImage(page)
    assert.equal(url, `${server.url}/predict?top_k=5`)
    assert.match(result, /"label": "2"/)
    await page.close()
  })

  test('works in a mounted app', async () => {
    const app = await createApp(await loadModel(join(ROOT, 'models/mnist')))
    const outer = express().use('/digits', app).listen(0, '127.0.0.1')
    await once(outer, 'listening')
    const origin = `http://127.0.0.1:${(outer.address() as AddressInfo).port}`
    const page = await open(browser, `${origin}/digits/docs`)
    const { url, result } = await tryImage(page)
    assert.equal(url, `${origin}/digits/predict?top_k=5`)
    assert.match(result, /"label": "2"/)
    await page.close()
    outer.closeAllConnections()
    outer.close()
    await app.close()
  })

  test('works behind a proxy that strips a prefix', async () => {
    const proxy = createServer((req, res) => {
      const path = req.url!.replace(/^\/api\/v1/, '')
      const { method, headers } = req
      const inner = request(server.url + path, { method, headers }, (response) => {
        res.writeHead(response.statusCode!, response.headers)
        response.pipe(res)
      })
      req.pipe(inner)
    }).listen(0, '127.0.0.1')
    await once(proxy, 'listening')
    const origin = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
    const page = await open(browser, `${origin}/api/v1/docs`)
    const { url, result } = await tryImage(page)
    assert.equal(url, `${origin}/api/v1/predict?top_k=5`)
    assert.match(result, /"label": "2"/)
    await page.close()
    proxy.closeAllConnections()
    proxy.close()
  })
})
