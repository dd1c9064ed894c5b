import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { StartError } from '../lib/inference/errors.ts'
import { readSettings, SETTINGS } from '../lib/process/settings.ts'
import { unknownSettings } from '../lib/process/unknown_settings.ts'
import { ROOT, run, startServer } from './running_server.ts'

test('unset and empty variables mean the default', () => {
  const settings = readSettings({ PORT: '', MAX_QUEUE: ' ' })
  assert.equal(settings.PORT, 8890)
  assert.equal(settings.MAX_QUEUE, 1000)
  assert.equal(settings.HOST, '127.0.0.1')
})

test('values are read as numbers and words', () => {
  const settings = readSettings({ PORT: '80', DEVICE: 'cuda', MODEL_NAME: 'digits' })
  assert.deepEqual([settings.PORT, settings.DEVICE, settings.MODEL_NAME], [80, 'cuda', 'digits'])
})

for (const [name, value] of [
  ['PORT', 'abc'],
  ['PORT', '65536'],
  ['PORT', '-1'],
  ['PORT', '8890.5'],
  ['PORT', '0x50'],
  ['MAX_BATCH_SIZE', '0'],
  ['DEVICE', 'gpu'],
  ['LOG_LEVEL', 'loud'],
  ['AIP_HEALTH_ROUTE', 'health'],
  ['AIP_PREDICT_ROUTE', 'https://example.org/predict'],
  ['AIP_PREDICT_ROUTE', '/predict?top_k=1'],
  ['AIP_PREDICT_ROUTE', '/pr\u00e9dire'],
]) {
  test(`${name}=${value} is refused in one line that names the range`, () => {
    assert.throws(
      () => readSettings({ [name]: value }),
      (error: Error) => {
        assert.ok(error instanceof StartError)
        assert.ok(error.message.startsWith(`${name}=${value}: expected `))
        assert.ok(!error.message.includes('\n'))
        return true
      },
    )
  })
}

test('a token that no header can carry is refused, and not printed', () => {
  for (const token of ['two words', 'tab\ttab', 'gr\u00fcn', 'line\nline', 'nul\0']) {
    const expected = 'API_TOKEN=(not shown): expected ASCII without spaces'
    assert.throws(() => readSettings({ API_TOKEN: token }), new StartError(expected))
  }
  assert.equal(readSettings({ API_TOKEN: 'a-Z09._~+/=,:' }).API_TOKEN, 'a-Z09._~+/=,:')
})

test('a mistyped setting gets one line', () => {
  const env = {
    PROT: '1',
    top_k: '3',
    PORTS: '80',
    HOSTNAME: 'a',
    HOME: '/',
    TERM: 'x',
    DEVICES: 'y',
    PATH: 'z',
  }
  const others = {
    npm_config_port: '1',
    LOGNAME: 'a',
    PWD: '/',
    MODE: 'x',
    HOSTTYPE: 'y',
    MAX_UPLOADS_MBS: '9',
  }
  assert.deepEqual(unknownSettings({ ...env, ...others }, {}), [
    'PROT is not a setting: did you mean PORT?',
    'top_k is not a setting: did you mean TOP_K?',
  ])
  const file = { MAX_UPLOADS_MBS: '9', PORTS: '80', TOP_K: '3', NODE_OPTIONS: '' }
  assert.deepEqual(unknownSettings({ ...file, PATH: '' }, file), [
    'MAX_UPLOADS_MBS is not a setting: did you mean MAX_UPLOAD_MB?',
    'PORTS is not a setting: did you mean PORT?',
  ])
  assert.deepEqual(unknownSettings({ Port: '80', PORT: '80' }, {}), []) // the same variable on Windows
})

test('the server warns once about a mistyped setting, even with several processes', async () => {
  const cwd = mkdtempSync(join(tmpdir(), 'onnxpress-env-'))
  writeFileSync(join(cwd, '.env'), 'MAX_UPLOADS_MB=5\nTOP_k=3\n')
  const env = { PROT: '1', WEB_CONCURRENCY: '2' }
  const server = await startServer({ env, args: [join(ROOT, 'server.js')], cwd })
  const warnings = server.log.map((line) => JSON.parse(line)).filter(({ level }) => level === 40)
  assert.deepEqual(warnings.map(({ msg }) => msg).sort(), [
    'MAX_UPLOADS_MB is not a setting: did you mean MAX_UPLOAD_MB?',
    'PROT is not a setting: did you mean PORT?',
    'TOP_k is not a setting: did you mean TOP_K?',
  ])
  await server.stop()
  const { stdout } = await run([join(ROOT, 'server.js'), '--describe'], env, cwd)
  assert.match(stdout, /^note {5}TOP_k is not a setting: did you mean TOP_K\?$/m)
})

test('settings are read from .env, and the environment takes precedence', async () => {
  const cwd = mkdtempSync(join(tmpdir(), 'onnxpress-env-'))
  writeFileSync(join(cwd, '.env'), 'TOP_K=2\nMODEL_NAME=from_the_file\n')
  const server = await startServer({ env: { MODEL_NAME: 'digits' }, args: [join(ROOT, 'server.js')], cwd })
  const body = new Uint8Array(readFileSync(join(ROOT, 'models/mnist/sample.png')))
  const response = await fetch(`${server.url}/predict`, { method: 'POST', body })
  assert.equal(((await response.json()) as { predictions: object[] }).predictions.length, 2)
  const { name } = (await (await fetch(`${server.url}/model`)).json()) as { name: string }
  assert.equal(name, 'digits')
  await server.stop()
})

test('docs/operations.md and .env.example have every setting with its default', () => {
  const operations = readFileSync(`${ROOT}/docs/operations.md`, 'utf8')
  const example = readFileSync(`${ROOT}/.env.example`, 'utf8')
  for (const [name, { default: value, shownDefault, range, help }] of Object.entries(SETTINGS)) {
    const shown = shownDefault ?? String(value)
    assert.ok(
      operations.includes(`| \`${name}\` | ${shown} | ${range} | ${help} |`),
      `operations.md: ${name}`,
    )
    assert.ok(example.includes(`# ${help} (${range}; default: ${shown})\n#${name}=`), `.env.example: ${name}`)
  }
  const listed = operations.match(/^\| `[A-Z_]+` \|/gm) ?? []
  assert.equal(listed.length, Object.keys(SETTINGS).length)
})
