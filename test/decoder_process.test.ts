import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, type TestContext, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import sharp from 'sharp'
import { ROOT, type RunningServer, startServer } from './running_server.ts'

const SAMPLE = readFileSync(join(ROOT, 'models/mnist/sample.png'))
const hasProc = existsSync(`/proc/${process.pid}/task`)

function predict(server: RunningServer, body: Uint8Array): Promise<Response> {
  return fetch(`${server.url}/predict`, { method: 'POST', body: new Uint8Array(body) })
}

/** The running children of a process. */
function childrenOf(pid: number): number[] {
  const ofTask = (task: string) => {
    try {
      return readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').split(' ')
    } catch {
      return [] // the thread has ended
    }
  }
  return readdirSync(`/proc/${pid}/task`).flatMap(ofTask).filter(Boolean).map(Number)
}

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await setTimeout(10)
}

/** A WebP file of 49 megapixels, which takes a second to decode. */
function largeWebp(): Promise<Buffer> {
  return sharp(SAMPLE).resize(7000, 7000).webp({ effort: 0 }).toBuffer()
}

async function start(t: TestContext): Promise<RunningServer> {
  const server = await startServer()
  t.after(() => server.process.kill('SIGKILL'))
  return server
}

describe('images that our own decoders do not support', { skip: !hasProc && 'there is no /proc' }, () => {
  test('are decoded in a separate process, which ends with the server', async (t) => {
    const server = await start(t)
    const pid = server.process.pid!
    assert.deepEqual(childrenOf(pid), [])
    const response = await predict(server, await sharp(SAMPLE).webp({ lossless: true }).toBuffer())
    assert.equal(((await response.json()) as { label: string }).label, '2')
    const [decoder, ...others] = childrenOf(pid)
    assert.deepEqual(others, [])
    assert.equal(await server.stop(), 0)
    await until(() => !existsSync(`/proc/${decoder}`))
  })

  test('a file that crashes its process gets 422, one whose process is killed 503, and the next ones are decoded', async (t) => {
    const server = await start(t)
    const pid = server.process.pid!
    const cases = [
      { signal: 'SIGSEGV', status: 422, detail: /save it again/ },
      { signal: 'SIGKILL', status: 503, detail: /try again later/ },
    ]
    for (const { signal, status, detail } of cases) {
      const response = predict(server, await largeWebp())
      await until(() => childrenOf(pid).length > 0)
      process.kill(childrenOf(pid)[0], signal)
      assert.equal((await response).status, status)
      assert.match(((await (await response).json()) as { detail: string }).detail, detail)
      assert.equal((await predict(server, await sharp(SAMPLE).webp().toBuffer())).status, 200)
      await until(() => childrenOf(pid).length === 1)
      process.kill(childrenOf(pid)[0], 'SIGKILL') // an idle one is replaced
      await until(() => childrenOf(pid).length === 0)
    }
    assert.equal(await server.stop(), 0)
  })

  test('large ones do not delay common ones, and their process ends to free its memory', async (t) => {
    const server = await start(t)
    const large = await largeWebp()
    const order: string[] = []
    const statuses = await Promise.all([
      ...[1, 2].map(async () => {
        const { status } = await predict(server, large)
        order.push('large')
        return status
      }),
      until(() => childrenOf(server.process.pid!).length > 0).then(async () => {
        const { status } = await predict(server, SAMPLE)
        order.push('common')
        return status
      }),
    ])
    assert.deepEqual(statuses, [200, 200, 200])
    assert.equal(order[0], 'common')
    await until(() => childrenOf(server.process.pid!).length === 0)
    assert.equal(await server.stop(), 0)
  })

  test('an image that arrives while an idle process ends is decoded by another', async () => {
    const server = await startServer({ env: { PREPROCESS_THREADS: '1' } })
    const small = await sharp(SAMPLE).webp().toBuffer()
    const large = await largeWebp()
    for (const earlyMs of [0, 1, 2, 3]) {
      assert.equal((await predict(server, large)).status, 200)
      await setTimeout(500 - earlyMs) // when the large image's process ends, which no event marks
      assert.equal((await predict(server, small)).status, 200)
    }
    assert.equal(await server.stop(), 0)
  })

  test('of two requests with many large ones, one gets 503 with Retry-After', async (t) => {
    const server = await start(t)
    const large = await largeWebp()
    const several = (count: number) => {
      const form = new FormData()
      for (let i = 0; i < count; i++) form.append(`image${i}`, new Blob([large]), `${i}.webp`)
      return fetch(`${server.url}/predict`, { method: 'POST', body: form })
    }
    const responses = await Promise.all([several(15), several(15)])
    const refused = responses.find(({ status }) => status === 503)
    assert.ok(refused, `${responses.map(({ status }) => status)}`)
    assert.ok(refused.headers.has('retry-after'))
    assert.match(((await refused.json()) as { detail: string }).detail, /one at a time/)
    assert.equal(await server.stop(), 0)
  })

  test('shutdown does not wait for a decoder', async (t) => {
    const server = await startServer({ env: { SHUTDOWN_MS: '100' } })
    t.after(() => server.process.kill('SIGKILL'))
    const image = await largeWebp()
    const statuses = [1, 2, 3, 4].map(() =>
      predict(server, image).then(
        ({ status }) => status,
        () => 0,
      ),
    )
    await until(() => childrenOf(server.process.pid!).length > 0)
    server.process.ref()
    const exited = once(server.process, 'exit')
    server.process.kill('SIGTERM')
    await exited
    // if it had waited, some would be decoded
    for (const status of await Promise.all(statuses)) assert.ok([0, 503].includes(status), String(status))
  })
})
