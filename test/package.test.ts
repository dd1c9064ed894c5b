import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { ROOT, run, startServer } from './running_server.ts'

const MOUNTED = `
import express from 'express'
import { createApp, loadModel } from 'onnxpress'

const model = await loadModel(process.argv[2])
const classifier = await createApp(model, { TOP_K: 2, MAX_UPLOAD_MB: 1 })
const app = express().use('/digits', classifier)
const server = app.use('/behind', express.json(), classifier).listen(0, '127.0.0.1', async () => {
  const url = 'http://127.0.0.1:' + server.address().port
  const ask = (path, options) => fetch(url + path, options)
  const body = await (await ask('/digits/model/sample')).arrayBuffer()
  const result = await (await ask('/digits/predict', { method: 'POST', body })).json()
  const tooLarge = await ask('/digits/predict', { method: 'POST', body: new Uint8Array(2 ** 20 + 1) })
  const page = await ask('/digits')
  const missing = await ask('/predict', { method: 'POST', body })
  const metrics = await (await ask('/digits/metrics')).text()
  const json = { method: 'POST', headers: { 'content-type': 'application/json' }, body: '{"data": [1]}' }
  const readBefore = await ask('/behind/predict', json)
  console.log(JSON.stringify({
    label: result.label, predictions: result.predictions.length, tooLarge: tooLarge.status, page: page.url.slice(url.length),
    missing: missing.status, readBefore: readBefore.status, batches: /^onnxpress_batch_size_count 1$/m.test(metrics),
  }))
  server.close()
  server.closeAllConnections()
  await classifier.close()
})
`

const TYPED = `
import type { Express } from 'express'
import { createApp, loadModel, type Model, type Settings } from 'onnxpress'

const settings: Partial<Settings> = { MAX_QUEUE: 10 }
const model: Model = await loadModel('my_model', settings)
const app: Express & { close(): Promise<void> } = await createApp(model, settings)
console.log(model.name, app.close)
// @ts-expect-error there is no such setting
await createApp(model, { MAX_QUEUES: 10 })
`

const PREPROCESSED = `
import { readFileSync } from 'node:fs'
import { ImageError, loadRecipe, preprocess, type ImageTensor, type Recipe } from 'onnxpress/preprocess'

const recipe: Recipe | undefined = loadRecipe(process.argv[2])
if (!recipe) throw new Error('the model takes no images')
const tensor: ImageTensor = await preprocess(readFileSync(process.argv[2] + '/sample.png'), recipe, { maxPixels: 1e6 })
const code = await preprocess(Buffer.from('hello'), recipe, { maxPixels: 1e6 }).catch((error: ImageError) => error.code)
console.log(tensor.dtype, tensor.dims.join(), tensor.data.length, code)
`

test('the packed package: small, a command, types, and an app to mount', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'onnxpress-package-'))
  t.after(() => rmSync(folder, { recursive: true }))
  const npm = (...args: string[]) =>
    execFileSync('npm', [...args, '--ignore-scripts'], {
      cwd: ROOT,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    })
  npm('pack', '--pack-destination', folder)
  const [tarball] = readdirSync(folder)
  assert.ok(statSync(join(folder, tarball)).size < 3_000_000)

  // install by hand with this checkout's dependencies, without a registry
  const modules = join(folder, 'node_modules')
  execFileSync('mkdir', ['-p', join(modules, 'onnxpress')])
  execFileSync('tar', [
    'xzf',
    join(folder, tarball),
    '--strip-components=1',
    '-C',
    join(modules, 'onnxpress'),
  ])
  for (const name of readdirSync(join(ROOT, 'node_modules'))) {
    if (!name.startsWith('.')) symlinkSync(join(ROOT, 'node_modules', name), join(modules, name))
  }
  writeFileSync(join(folder, 'package.json'), '{"type":"commonjs"}') // as npm init writes it

  await t.test('createApp and loadModel', async () => {
    writeFileSync(join(folder, 'mounted.mjs'), MOUNTED)
    const { stdout, stderr } = await run(['mounted.mjs', join(ROOT, 'models/mnist')], {}, folder)
    const lines = stdout.trim().split('\n')
    const result = lines.find((line) => line.startsWith('{"label"')) ?? `"${stderr}"`
    const expected = {
      label: '2',
      predictions: 2,
      tooLarge: 413,
      page: '/digits/',
      missing: 404,
      readBefore: 500,
      batches: true,
    }
    assert.deepEqual(JSON.parse(result), expected)
    assert.match(stdout, /the body has been read already: mount this app in front of body parsers/)
  })

  const compile = (...args: string[]) => {
    const options = ['--strict', '--target', 'es2023', '--types', 'node']
    const tsc = join(ROOT, 'node_modules/.bin/tsc')
    try {
      execFileSync(tsc, [...options, ...args], { cwd: folder, encoding: 'utf8', stdio: 'pipe' })
    } catch (error) {
      assert.fail((error as { stdout: string }).stdout)
    }
  }
  await t.test('CommonJS', async () => {
    writeFileSync(
      join(folder, 'dynamic.js'),
      "import('onnxpress').then((module) => console.log(Object.keys(module)))",
    )
    const { stdout, stderr } = await run(['dynamic.js'], {}, folder)
    assert.equal(stdout || stderr, "[ 'createApp', 'loadModel' ]\n")
  })

  await t.test('types', () => {
    writeFileSync(join(folder, 'typed.mts'), TYPED)
    compile('--module', 'nodenext', '--noEmit', 'typed.mts')
    compile('--module', 'esnext', '--moduleResolution', 'bundler', '--noEmit', 'typed.mts')
  })

  await t.test('the entry for preprocessing alone, and its types', async () => {
    writeFileSync(join(folder, 'preprocessed.mts'), PREPROCESSED)
    compile('--module', 'nodenext', 'preprocessed.mts')
    const { stdout, stderr } = await run(['preprocessed.mjs', join(ROOT, 'models/mnist')], {}, folder)
    assert.equal(stdout || stderr, 'float32 1,1,28,28 784 unsupported\n')
  })

  await t.test('the example of docs/preprocess.md', async () => {
    const [, example] = /```js\n(.*?)```/s.exec(readFileSync(join(ROOT, 'docs/preprocess.md'), 'utf8'))!
    writeFileSync(join(folder, 'example.mjs'), example)
    symlinkSync(join(ROOT, 'models/mnist'), join(folder, 'my_model'))
    symlinkSync(join(ROOT, 'models/mnist/sample.png'), join(folder, 'photo.jpg'))
    const { stdout, stderr } = await run(['example.mjs'], { ORT_DISABLE_TELEMETRY: '1' }, folder)
    assert.equal(stdout || stderr, 'best class: 2\n')
  })

  await t.test('the command', async () => {
    const bin = join(folder, 'onnxpress') // as npm links it
    symlinkSync(join(modules, 'onnxpress/server.js'), bin)
    const model = join(ROOT, 'test/fixtures/models/linear')
    const server = await startServer({ args: [bin, model, '--port', '0'], env: { PORT: 'abc' }, cwd: folder })
    const response = await fetch(`${server.url}/predict`, {
      method: 'POST',
      body: new URLSearchParams({ value: '5' }),
    })
    assert.deepEqual(await response.json(), { input: 5, prediction: 9 })
    assert.equal(await server.stop(), 0)
    const { stdout } = await run([bin, '--version'], {}, folder)
    assert.match(stdout, /^\d+\.\d+\.\d+\n$/)
  })
})

test('--help lists settings and flags', async () => {
  const { code, stdout } = await run(['server.js', '--help'])
  assert.equal(code, 0)
  for (const name of ['MODEL_DIR', 'MAX_QUEUE', 'API_TOKEN', '--port'])
    assert.match(stdout, new RegExp(`^ +${name} `, 'm'))
})

test('an invalid port, as an argument and as a variable', async () => {
  const byFlag = await run(['server.js', '--port', 'abc'])
  assert.deepEqual(
    [byFlag.code, byFlag.stderr],
    [1, 'onnxpress: PORT=abc: expected a whole number from 0 to 65535\n'],
  )
  const byEnv = await run(['server.js'], { PORT: 'abc' })
  assert.deepEqual([byEnv.code, byEnv.stderr], [1, byFlag.stderr])
})

test("the container's health check", async () => {
  const server = await startServer()
  const { port } = new URL(server.url)
  assert.equal((await run(['lib/process/healthcheck.js'], { PORT: port })).code, 0)
  await server.stop()
  assert.equal((await run(['lib/process/healthcheck.js'], { PORT: port })).code, 1)
  const onIpv6 = await startServer({ env: { HOST: '::1' } })
  const env = { HOST: '::1', PORT: new URL(onIpv6.url).port }
  assert.equal((await run(['lib/process/healthcheck.js'], env)).code, 0)
  await onIpv6.stop()
})

test('a program from standard input can import the package', async () => {
  const program = `import('${join(ROOT, 'index.js')}').then((module) => console.log(typeof module.createApp))`
  const { stdout, stderr } = await run(['--input-type=module', '--eval', program, '-'])
  assert.equal(stdout || stderr, 'function\n')
})
