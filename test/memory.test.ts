import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import {
  createServer,
  type IncomingMessage,
  type RequestListener,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'
import { type TestContext, test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Piscina } from 'piscina'
import type { AdmittedContext } from '../lib/http/admission.ts'
import { createFormReader } from '../lib/input/multipart.ts'
import { type ImageTask, RUN_FAST } from '../lib/workers/image_task.ts'
import { releaseChunk } from '../lib/workers/memory.ts'
import { keepDescription } from '../lib/workers/thread_pool.ts'
import { encodePng, loadRecipe, preprocess, release } from '../preprocess/index.ts'

const MB = 2 ** 20
const PNG = encodePng({ width: 40, height: 40, channels: 1, data: new Uint8Array(1600).fill(7) })
const RECIPE = loadRecipe(fileURLToPath(new URL('../models/mnist', import.meta.url)))!

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

test('large memory is freed at once', async () => {
  // on Node 20 the port's other end takes two turns of the event loop to close
  await setImmediate()
  await setImmediate()
  const before = process.memoryUsage().arrayBuffers
  for (let i = 0; i < 100; i++) {
    const memory = new ArrayBuffer(MB)
    release(memory)
    release(memory)
    assert.equal(memory.byteLength, 0)
  }
  assert.ok(process.memoryUsage().arrayBuffers - before < 10 * MB)
})

test('small memory is left to the garbage collector', () => {
  const memory = new ArrayBuffer(100)
  release(memory)
  assert.equal(memory.byteLength, 100)
})

test("a small PNG is decoded without freeing the memory that Node's small buffers share", async (t) => {
  const { poolSize } = Buffer
  t.after(() => {
    Buffer.poolSize = poolSize
  })
  Buffer.poolSize = 2 ** 16 // as in Node 24
  const small = Array.from({ length: 100 }, () => Buffer.allocUnsafe(1000))
  for (let i = 0; i < 100; i++) await preprocess(PNG, RECIPE, { maxPixels: 1e6 })
  assert.ok(small.every(({ length }) => length === 1000))
})

test('a chunk is freed only if it does not share its memory', () => {
  const shared = Buffer.from(new ArrayBuffer(MB))
  releaseChunk(shared.subarray(1))
  assert.equal(shared.length, MB)
  releaseChunk(shared)
  assert.equal(shared.length, 0)
})

test('a thread is described once, not for each task', async (t) => {
  const seen: unknown[] = []
  const pool = new Piscina({
    minThreads: 1,
    maxThreads: 1,
    filename: RUN_FAST.file,
    name: RUN_FAST.name,
    loadBalancer: (_, threads) => {
      seen.push(threads[0])
      return threads[0]
    },
  })
  t.after(() => pool.destroy())
  pool.on('workerCreate', keepDescription)
  const task: ImageTask = { want: 'tensor', file: PNG, recipe: RECIPE, dtype: 'float32', maxPixels: 1e6 }
  for (let i = 0; i < 3; i++) await pool.run(task)
  assert.ok(seen.length >= 3)
  assert.ok(seen.at(-1) === seen.at(-2)) // the first task is given out before the thread is announced
})

/** Of a module in lib, as a string literal. */
const moduleUrl = (name: string) => JSON.stringify(new URL(`../lib/${name}.js`, import.meta.url))

test("the flag that limits the main thread's young generation does not enlarge the threads'", async () => {
  const thread = `
    import { getHeapSpaceStatistics } from 'node:v8'
    let most = 0
    for (let i = 0; i < 200; i++) {
      globalThis.kept = Array.from({ length: 20_000 }, () => ({}))
      const young = getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')
      most = Math.max(most, young.space_size)
    }
    console.log(most)`
  const program = `
    import { Worker } from 'node:worker_threads'
    import { WORKER_LIMITS } from ${moduleUrl('inference/session')}
    import { configureHeap } from ${moduleUrl('process/heap')}
    configureHeap()
    new Worker(${JSON.stringify(thread)}, { eval: true, resourceLimits: WORKER_LIMITS })`
  const args = ['--max-semi-space-size=16', '--input-type=module', '--eval', program]
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args)
  assert.equal(stderr, '') // V8 knows the flags
  const most = Number(stdout)
  assert.ok(most > 0 && most < 10 * MB, `${most} bytes`) // 32 MB with that flag alone
})

/** Serve until the end of the test. */
async function listen(t: TestContext, handle: RequestListener): Promise<{ server: Server; url: string }> {
  const server = createServer(handle)
  t.after(() => server.close())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as AddressInfo
  return { server, url: `http://127.0.0.1:${port}` }
}

/** As the app's first middleware and its admission make it. */
function contextOf(req: IncomingMessage, res: ServerResponse, reservation = {}): AdmittedContext {
  const context = { req, res, reservation } as AdmittedContext
  Object.assign(req, { context })
  return context
}

test("a form's body is freed as soon as its files have been read", async (t) => {
  const readForm = createFormReader(MB)
  const chunks: Buffer[] = []
  const sizes: number[] = []
  const reservation = { countBody() {}, own() {} }
  const { url } = await listen(t, async (req, res) => {
    req.on('data', (chunk: Buffer) => {
      chunks.push(chunk)
      sizes.push(chunk.length)
    })
    const { files } = await readForm(contextOf(req, res, reservation))
    res.end(files[0].bytes)
  })
  const file = new Uint8Array(200_000).fill(7)
  const body = new FormData()
  body.set('image', new Blob([file]), 'image')
  const response = await fetch(url, { method: 'POST', body })
  assert.deepEqual(new Uint8Array(await response.arrayBuffer()), file)
  const isLarge = (bytes: number) => bytes >= 2 ** 14
  assert.ok(sizes.some(isLarge))
  assert.ok(!chunks.some(({ length }) => isLarge(length)))
})

test("a form's parser does not keep its request", async (t) => {
  const readForm = createFormReader(MB)
  const parsers: unknown[] = []
  const requests: WeakRef<object>[] = []
  const { server, url } = await listen(t, async (req, res) => {
    requests.push(new WeakRef(req))
    const { pipe } = req
    req.pipe = (parser, options) => {
      parsers.push(parser)
      return pipe.call(req, parser, options) as typeof parser
    }
    const response = await readForm(contextOf(req, res)).then(
      ({ files, text }) => ({ files, dims: text('dims') }),
      ({ status }) => status,
    )
    res.end(JSON.stringify(response))
  })
  const post = async (body: FormData | string) => {
    const headers =
      typeof body === 'string' ? { 'Content-Type': 'multipart/form-data; boundary=x' } : undefined
    const response = await fetch(url, { method: 'POST', body, headers })
    return response.json()
  }

  const form = new FormData()
  form.set('dims', '[1]')
  assert.deepEqual(await post(form), { files: [], dims: '[1]' })
  assert.equal(await post('--x\r\nno form'), 400)
  server.close().closeAllConnections()
  await once(server, 'close')
  await setImmediate()
  collectGarbage()
  assert.equal(parsers.length, 2)
  assert.deepEqual(
    requests.map((request) => request.deref()),
    [undefined, undefined],
  )
})
