import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { fetchModel } from '../lib/hub/fetch_model.ts'
import { parseHubReference } from '../lib/hub/reference.ts'
import { RepoCache } from '../lib/hub/repo_cache.ts'
import { servingFiles } from '../lib/hub/serving_files.ts'
import { readCommand } from '../lib/process/command_line.ts'
import { readSettings } from '../lib/process/settings.ts'
import { FakeHub } from './fake_hub.ts'
import { ROOT, run, startServer } from './running_server.ts'

const COMMIT = '0123456789abcdef0123456789abcdef01234567'
const NEWER = 'fedcba9876543210fedcba9876543210fedcba98'
const REPO = 'someone/digits'
const TOKEN = 'hf_secret'
const mnist = (name: string) => readFileSync(join(ROOT, 'models/mnist', name))
const GRAPH = mnist('model.onnx')
const FILES = {
  '.gitattributes': Buffer.from('*.onnx filter=lfs'),
  'README.md': mnist('README.md'),
  'config.json': mnist('config.json'),
  'preprocessor_config.json': mnist('preprocessor_config.json'),
  'pytorch_model.bin': Buffer.alloc(10_000, 1),
  'sample.png': mnist('sample.png'),
  'onnx/model.onnx': GRAPH,
  'onnx/model_quantized.onnx': Buffer.concat([GRAPH]),
}
const SERVED = ['config.json', 'onnx/model.onnx', 'preprocessor_config.json', 'sample.png']

interface Setup {
  hub: FakeHub
  /** the repository's folder in the cache */
  cache: string
  env: Record<string, string>
  /** Call fetchModel in this process. @returns its notes */
  fetchHere(name?: string, changes?: { file?: string; env?: Record<string, string> }): Promise<string[]>
}

async function setUp(t: TestContext): Promise<Setup> {
  const home = mkdtempSync(join(tmpdir(), 'onnxpress-hub-'))
  const hub = await new FakeHub().start()
  hub.repos.set(REPO, { commit: COMMIT, files: FILES })
  t.after(async () => {
    await hub.stop().catch(() => {})
    rmSync(home, { recursive: true })
  })
  const env = { HF_HOME: home, HF_ENDPOINT: hub.url, HF_TOKEN: TOKEN }
  const fetchHere: Setup['fetchHere'] = async (name = REPO, { file = '', env: changes } = {}) => {
    const notes: string[] = []
    const note = (message: string) => notes.push(message)
    const folder = await fetchModel(`hf://${name}`, {
      file,
      env: { ...env, ...changes },
      say: () => {},
      note,
    })
    assert.deepEqual(readFileSync(join(folder, file || 'onnx/model.onnx')), GRAPH)
    return notes
  }
  return { hub, cache: join(home, 'hub/models--someone--digits'), env, fetchHere }
}

const start = (env: Record<string, string>, ...args: string[]) =>
  startServer({ args: ['server.js', ...args], env })
const describe = (env: Record<string, string>, ...args: string[]) =>
  run(['server.js', '--describe', ...args], env)

async function predictSample(url: string): Promise<string> {
  const response = await fetch(`${url}/predict`, { method: 'POST', body: FILES['sample.png'] })
  return ((await response.json()) as { label: string }).label
}

const listed = (folder: string) =>
  (readdirSync(folder, { recursive: true }) as string[]).filter(
    (name) => !lstatSync(join(folder, name)).isDirectory(),
  )

const messages = (log: string[]) => log.map((line) => JSON.parse(line).msg as string)

test('a model of the Hub is downloaded, served under its name, and pinned to its commit', async (t) => {
  const { hub, cache, env } = await setUp(t)
  hub.repos.set(REPO, { commit: COMMIT, files: FILES, token: TOKEN })
  const server = await start(env, REPO)
  assert.equal(await predictSample(server.url), '2')
  const model = (await (await fetch(`${server.url}/model`)).json()) as Record<string, unknown>
  assert.deepEqual([model.name, model.source], ['digits', `hf://${REPO}@${COMMIT}`])
  assert.ok(messages(server.log).some((line) => line.startsWith(`downloading ${REPO} from 127.0.0.1`)))
  await server.stop()
  assert.deepEqual(hub.downloaded.sort(), SERVED)
  assert.equal(hub.isTokenLeaked, false)

  const snapshot = join(cache, 'snapshots', COMMIT)
  assert.deepEqual(listed(snapshot).sort(), SERVED)
  assert.match(readlinkSync(join(snapshot, 'onnx/model.onnx')), /^\.\.\/\.\.\/\.\.\/blobs\/[0-9a-f]{64}$/)
  assert.match(readlinkSync(join(snapshot, 'config.json')), /^\.\.\/\.\.\/blobs\/[0-9a-f]{40}$/)
  assert.equal(readFileSync(join(cache, 'refs/main'), 'utf8'), COMMIT)
  assert.equal(readdirSync(join(cache, 'blobs')).length, SERVED.length)

  const { stdout } = await describe({ ...env, MODEL_DIR: `hf://${REPO}@main` })
  assert.match(stdout, new RegExp(`^model    digits, version 1\nfrom     hf://${REPO}@${COMMIT}\n`))
})

test('a second start downloads nothing, and needs no network', async (t) => {
  const { hub, env, fetchHere } = await setUp(t)
  await fetchHere()
  hub.requests.length = 0
  assert.deepEqual(await fetchHere(), [])
  assert.deepEqual(hub.requests, [`GET /api/models/${REPO}/revision/main `])
  await fetchHere(`${REPO}@${COMMIT}`)
  await fetchHere(REPO, { env: { HF_HUB_OFFLINE: '1' } })
  assert.equal(hub.requests.length, 1)

  await hub.stop()
  const server = await start(env, REPO)
  assert.equal(await predictSample(server.url), '2')
  await server.stop()
  const { host } = new URL(hub.url)
  const unreachable = `${REPO}: ${host} cannot be reached (ECONNREFUSED): check the network, or HF_ENDPOINT`
  assert.ok(messages(server.log).includes(`${unreachable}; the commit in the cache is served, ${COMMIT}`))
})

test('a newer commit of a branch is served after a restart; an outage keeps the old one', async (t) => {
  const { hub, cache, fetchHere } = await setUp(t)
  await fetchHere()
  hub.repos.set(REPO, { commit: NEWER, files: { ...FILES, 'config.json': Buffer.from('{"version":"7"}') } })
  hub.faults.set('config.json', { cutAfter: 0 })
  const [note] = await fetchHere()
  assert.match(note, /; the commit in the cache is served, 0123/)
  const ref = () => readFileSync(join(cache, 'refs/main'), 'utf8')
  assert.equal(ref(), COMMIT)
  hub.faults.clear()
  assert.deepEqual(await fetchHere(), [])
  assert.equal(ref(), NEWER)
  assert.equal(readFileSync(join(cache, 'snapshots', NEWER, 'config.json'), 'utf8'), '{"version":"7"}')
})

test('a broken connection is resumed', async (t) => {
  const { hub, fetchHere } = await setUp(t)
  hub.faults.set('onnx/model.onnx', { cutAfter: 150_000, times: 2 })
  await fetchHere()
  const from = hub.requests
    .map((line) => Number(/model\.onnx bytes=(\d+)-(?!0)/.exec(line)?.[1]))
    .filter((n) => n > 0)
  assert.equal(from.length, 2)
  assert.ok(from[0] < from[1], from.join())
  // bytes in flight when the connection broke are sent again
  assert.ok(hub.sent.get('onnx/model.onnx')! <= GRAPH.length + 2 * 65_536)
})

test('a killed download resumes at the next start, and nothing is served before', async (t) => {
  const { hub, cache, env, fetchHere } = await setUp(t)
  hub.faults.set('onnx/model.onnx', { stallAfter: 200_000, times: 1 })
  const stalled = new Promise<void>((resolve) => {
    hub.onStall = resolve
  })
  const first = start(env, REPO)
  await stalled
  const partial = () => readdirSync(join(cache, 'blobs')).find((name) => name.endsWith('.incomplete'))
  while (!partial() || lstatSync(join(cache, 'blobs', partial()!)).size < 200_000) await setTimeout(5)
  process.kill(Number(partial()!.split('.').at(-2)), 'SIGKILL')
  await assert.rejects(first, /ended with code null/)
  const offline = fetchHere(REPO, { env: { HF_HUB_OFFLINE: '1' } })
  await assert.rejects(offline, /is not complete in .*, and HF_HUB_OFFLINE is set/)

  await fetchHere()
  assert.equal(hub.sent.get('onnx/model.onnx'), GRAPH.length)
  assert.equal(partial(), undefined)
})

test('a file with a wrong hash is refused and deleted, large or small', async (t) => {
  const { hub, cache, fetchHere } = await setUp(t)
  for (const [name, kind] of [
    ['onnx/model.onnx', 'SHA-256'],
    ['config.json', 'Git hash'],
  ]) {
    hub.faults.set(name, { isCorrupt: true })
    const line = `^${name} arrived damaged: its ${kind} is \\w+, expected \\w+: start again$`
    await assert.rejects(fetchHere(), { name: 'StartError', message: new RegExp(line) })
    assert.ok(!listed(cache).some((path) => path.endsWith('.incomplete')))
    assert.ok(!listed(cache).includes(`snapshots/${COMMIT}/${name}`))
    rmSync(cache, { recursive: true })
    hub.faults.clear()
  }
  await fetchHere()
})

test('a truncated blob is downloaded again, and so is a partial one with wrong bytes', async (t) => {
  const { hub, cache, fetchHere } = await setUp(t)
  await fetchHere()
  const blobs = join(cache, 'blobs')
  const graph = readdirSync(blobs).find((name) => name.length === 64)!
  truncateSync(join(blobs, graph), 1000)
  hub.sent.clear()
  await fetchHere()
  assert.equal(hub.sent.get('onnx/model.onnx'), GRAPH.length)

  const { pid } = spawnSync('true') // it has ended
  writeFileSync(join(blobs, `${graph}.${hostname()}.${pid}.incomplete`), Buffer.alloc(5000, 1))
  rmSync(join(blobs, graph))
  hub.sent.clear()
  await fetchHere()
  assert.equal(hub.sent.get('onnx/model.onnx'), 2 * GRAPH.length - 5000)
  assert.deepEqual(
    readdirSync(blobs).filter((name) => name.startsWith(graph)),
    [graph],
  )
})

test('a cache without a list of files, from an older library, is served', async (t) => {
  const { hub, cache, fetchHere } = await setUp(t)
  await fetchHere()
  rmSync(join(cache, 'trees'), { recursive: true })
  const [note] = await fetchHere(REPO, { env: { HF_HUB_OFFLINE: '1' } })
  assert.match(note, /^the cache lists no files of someone\/digits/)
  hub.requests.length = 0
  assert.deepEqual(await fetchHere(), [])
  assert.deepEqual(hub.downloaded, [])
})

test('a hash that is a path is refused', () => {
  const file = { path: 'sample.png', size: 9, gitSha1: '../../../id_rsa' }
  assert.throws(
    () => new RepoCache(tmpdir(), 'owner/model').blobOf(file),
    /sample\.png: the Hub lists it with the hash "\.\.\/.*, expected hexadecimal digits/,
  )
})

test('a refusal by the Hub is one line', async (t) => {
  const { hub, env, fetchHere } = await setUp(t)
  const { host } = new URL(hub.url)
  hub.repos.set('someone/gated', { commit: COMMIT, files: FILES, isGated: true })
  hub.repos.set('someone/weights', { commit: COMMIT, files: { 'pytorch_model.bin': Buffer.alloc(9) } })
  const variants = { 'onnx/model_fp16.onnx': GRAPH, 'onnx/decoder.onnx': GRAPH }
  hub.repos.set('someone/variants', { commit: COMMIT, files: variants })
  const nothing = `someone/digit: there is no such folder here, and no such model on ${host}: check the name, and`
  for (const [name, message, changes] of [
    ['someone/digit', `${nothing} whether HF_TOKEN may read it`],
    ['someone/digit', `${nothing} set HF_TOKEN if it is private or gated`, { HF_TOKEN: '' }],
    [`${REPO}@v2`, `${REPO}: ${host} has no revision v2 of it: name a branch, a tag or a commit`],
    [
      'someone/gated',
      `someone/gated: ${host} does not let you read it: ask for access at ${hub.url}/someone/gated, and set HF_TOKEN`,
    ],
    [
      'someone/weights',
      'someone/weights has no ONNX files: make them with `optimum-cli export onnx --model someone/weights ' +
        '--task image-classification my_model`, and serve my_model',
    ],
    [
      'someone/variants',
      'someone/variants has no model.onnx and no onnx/model.onnx: choose one with --file: ' +
        'onnx/decoder.onnx, onnx/model_fp16.onnx',
    ],
    [REPO, 'HF_TOKEN=(not shown): expected a token that starts with hf_', { HF_TOKEN: 'secret' }],
    [
      REPO,
      'HF_ENDPOINT=hub.local: expected an address such as https://huggingface.co',
      { HF_ENDPOINT: 'hub.local' },
    ],
  ] as [string, string, Record<string, string>?][]) {
    await assert.rejects(fetchHere(name, { env: changes }), { name: 'StartError', message })
  }
  await hub.stop()
  const { code, stderr } = await describe(env, REPO)
  const unreachable = `${REPO}: ${host} cannot be reached (ECONNREFUSED): check the network, or HF_ENDPOINT`
  assert.deepEqual([code, stderr], [1, `onnxpress: ${unreachable}\n`])
})

test('--file chooses a variant, on the Hub and in a folder', async (t) => {
  const { hub, env, fetchHere } = await setUp(t)
  await fetchHere(REPO, { file: 'onnx/model_quantized.onnx' })
  assert.ok(hub.downloaded.includes('onnx/model_quantized.onnx'))
  assert.ok(!hub.downloaded.includes('onnx/model.onnx'))
  const { code, stderr } = await describe(
    { ...env, HF_HUB_OFFLINE: '1' },
    REPO,
    '--file',
    'onnx/model_quantized.onnx',
  )
  assert.equal(code, 0, stderr)
  const missing = await describe(env, 'models/mnist', '--file', 'other.onnx')
  assert.match(missing.stderr, /^onnxpress: MODEL_DIR=models\/mnist: there is no other\.onnx in /)
  assert.throws(
    () => readSettings({ MODEL_FILE: './../mnist/model.onnx' }),
    /MODEL_FILE=.*: expected a path inside the model folder/,
  )
  assert.equal(readSettings({ MODEL_FILE: './onnx/model.onnx' }).MODEL_FILE, 'onnx/model.onnx')
})

test('several processes download once, and resolve the branch once', async (t) => {
  const { hub, env } = await setUp(t)
  const server = await start({ ...env, WEB_CONCURRENCY: '2' }, REPO, '--port', '0')
  while (messages(server.log).filter((line) => line.startsWith('serving')).length < 2) await setTimeout(10)
  assert.equal(await predictSample(server.url), '2')
  assert.equal(hub.sent.get('onnx/model.onnx'), GRAPH.length)
  assert.equal(hub.requests.filter((line) => line.includes('/revision/')).length, 1)
  assert.equal(await server.stop(), 0)
})

test('two servers that start at once do not disturb each other', async (t) => {
  const { cache, env } = await setUp(t)
  const servers = await Promise.all([start(env, REPO), start(env, REPO)])
  for (const { url } of servers) assert.equal(await predictSample(url), '2')
  for (const server of servers) await server.stop()
  assert.equal(readdirSync(join(cache, 'blobs')).length, SERVED.length)
})

test('SIGTERM ends a download', async (t) => {
  const { hub, env } = await setUp(t)
  hub.faults.set('onnx/model.onnx', { stallAfter: 1000 })
  const stalled = new Promise<void>((resolve) => {
    hub.onStall = resolve
  })
  const first = start(env, REPO)
  await stalled
  const blobs = join(env.HF_HOME, 'hub/models--someone--digits/blobs')
  const partial = readdirSync(blobs).find((name) => name.endsWith('.incomplete'))!
  process.kill(Number(partial.split('.').at(-2)), 'SIGTERM')
  await assert.rejects(first, /ended with code 1/)
})

test('a folder takes precedence over a model of its name, and local paths are never model names', async (t) => {
  const cwd = mkdtempSync(join(tmpdir(), 'onnxpress-local-'))
  t.after(() => rmSync(cwd, { recursive: true }))
  mkdirSync(join(cwd, REPO), { recursive: true })
  const previous = process.cwd()
  process.chdir(cwd)
  t.after(() => process.chdir(previous))
  const dirOf = (name: string) => readCommand([name]).env.MODEL_DIR
  assert.equal(dirOf(REPO), REPO)
  assert.equal(dirOf('someone/other@v1'), 'hf://someone/other@v1')
  for (const path of ['./some/model', '../some/model', '/some/model', 'some', 'a/b/c'])
    assert.equal(dirOf(path), path)
  const { code, stderr } = await describe({ MODEL_DIR: 'some/model' })
  assert.equal(code, 1)
  assert.match(stderr, /^onnxpress: MODEL_DIR=some\/model: there is no folder/)
})

test('references to models', () => {
  assert.deepEqual(parseHubReference('hf://a/b'), { repo: 'a/b', revision: 'main' })
  assert.deepEqual(parseHubReference('hf://a/b.c-d@refs/pr/1'), { repo: 'a/b.c-d', revision: 'refs/pr/1' })
  for (const wrong of [
    'hf://a',
    'hf://a/b/c',
    'hf://a/b@',
    'hf://../b',
    'hf://a/b@a/../../c',
    'hf://a/b@/etc',
  ]) {
    assert.throws(() => parseHubReference(wrong), /expected hf:\/\/owner\/model/)
  }
})

test('the only graph is chosen, whatever its name', () => {
  const named = (paths: string[]) => paths.map((path) => ({ path, size: 1 }))
  const choose = (...paths: string[]) => servingFiles(named(paths), '').map(({ path }) => path)
  assert.deepEqual(choose('onnx/model_fp16.onnx', 'fp32/model.onnx'), ['onnx/model_fp16.onnx'])
  assert.deepEqual(choose('net.onnx', 'model.onnx'), ['model.onnx'])
  assert.deepEqual(choose('net.onnx', 'onnx/net.onnx'), [])
})

test('the weights beside a graph belong to it; those of other graphs do not', () => {
  const paths = ['a', '_data', '_data_1', '.data', '_quantized.onnx', '.json'].map(
    (end) => `onnx/model.onnx${end}`,
  )
  const files = ['onnx/model.onnx', 'model.onnx_data', ...paths].map((path) => ({ path, size: 1 }))
  const chosen = servingFiles(files, '').map(({ path }) => path)
  assert.deepEqual(chosen, ['onnx/model.onnx', ...paths.slice(1, 4)])
})
