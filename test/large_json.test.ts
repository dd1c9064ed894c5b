import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { type RunningServer, startServer } from './running_server.ts'

const INFER = '/v2/models/mnist/infer'

const times = (item: string, count: number) => new Array(count).fill(item).join()
const instances = (item: string, count: number) => `{"instances":[${times(item, count)}]}`

describe('JSON of many small values', () => {
  let server: RunningServer
  before(async () => {
    server = await startServer()
  })
  after(async () => {
    assert.equal(await server.stop(), 0)
  })

  const cases: [string, string, () => string, number, RegExp][] = [
    [
      '300,000 images in V1',
      '/v1/models/mnist:predict',
      () => instances('{"b64":"AA"}', 300_000),
      413,
      /300000 images in one request; the limit is 100/,
    ],
    [
      '1,500,000 images',
      '/predict',
      () => instances('{"b64":"AA"}', 1_500_000),
      413,
      /1500002 lists and objects; the limit is 500000/,
    ],
    ['101 images of invalid base64', '/predict', () => instances('{"b64":"!"}', 101), 413, /101 images/],
    [
      '300,000 images and a number',
      '/predict',
      () => instances('{"b64":"AA"}', 300_000).replace(']}', ',1]}'),
      400,
      /two requests/,
    ],
    [
      '6 million empty lists',
      '/predict',
      () => `[${times('[]', 6_000_000)}]`,
      413,
      /6000001 lists.*500000.*flat/,
    ],
    [
      '10 million nested brackets',
      '/predict',
      () => '['.repeat(10_000_000) + ']'.repeat(10_000_000),
      413,
      /10000000 lists/,
    ],
    [
      '6 million objects as inputs of V2',
      INFER,
      () => `{"inputs":[${times('{}', 6_000_000)}]}`,
      413,
      /6000002 lists and objects/,
    ],
  ]
  for (const [name, path, make, status, pattern] of cases) {
    test(`${name}: refused`, async () => {
      const body = make()
      const headers = { 'content-type': 'application/json' }
      const response = await fetch(server.url + path, { method: 'POST', body, headers })
      const text = await response.text()
      assert.equal(response.status, status, text)
      assert.match(text, pattern)
    })
  }

  test('brackets in a string are not counted', async () => {
    const body = `{"data":"${'[\\"{'.repeat(2_100_000)}"}`
    const headers = { 'content-type': 'application/json' }
    const response = await fetch(`${server.url}/predict`, { method: 'POST', body, headers })
    assert.equal(response.status, 400)
  })
})
