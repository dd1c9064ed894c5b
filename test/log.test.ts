import assert from 'node:assert/strict'
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type TestContext, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { freePort, ROOT } from './running_server.ts'

const MODEL_DIR = join(ROOT, 'test/fixtures/models/linear')
/** Each request writes a log line of about 8 kB. */
const LONG_PATH = `/nothing/${'x'.repeat(8000)}`

/** A server whose log goes to this file descriptor, or into a pipe. */
async function startLoggingTo(t: TestContext, stdout: number | 'pipe') {
  const port = await freePort()
  const env = { PATH: process.env.PATH, PORT: String(port), MODEL_DIR }
  const child: ChildProcess = spawn(process.execPath, ['server.js'], {
    cwd: ROOT,
    env,
    stdio: ['ignore', stdout, 'pipe'],
  })
  t.after(() => child.kill('SIGKILL'))
  let stderr = ''
  child.stderr!.setEncoding('utf8').on('data', (text) => {
    stderr += text
  })
  const get = (path: string) =>
    fetch(`http://127.0.0.1:${port}${path}`, { signal: AbortSignal.timeout(5000) })
  const deadline = performance.now() + 10_000
  while (
    !(await get('/readyz').then(
      ({ ok }) => ok,
      () => false,
    ))
  ) {
    assert.ok(performance.now() < deadline, 'the server does not listen')
    await setTimeout(50)
  }
  return {
    child,
    stderr: () => stderr,
    async ask(count: number) {
      for (let i = 0; i < count; i += 50) {
        const responses = Array.from({ length: Math.min(50, count - i) }, () => get(LONG_PATH))
        for (const { status } of await Promise.all(responses)) assert.equal(status, 404)
      }
    },
    async dropped() {
      const text = await (await get('/metrics')).text()
      return Number(text.match(/^onnxpress_log_lines_dropped_total (\d+)$/m)?.[1])
    },
    async stop() {
      const startedAt = performance.now()
      const exited = once(child, 'exit')
      child.kill('SIGTERM')
      const [code] = await exited
      return { code, ms: performance.now() - startedAt }
    },
  }
}

type LoggingServer = Awaited<ReturnType<typeof startLoggingTo>>

async function assertStops(server: LoggingServer): Promise<void> {
  const { code, ms } = await server.stop()
  assert.equal(code, 0)
  assert.ok(ms < 2000, `shutdown took ${ms} ms`)
}

test('a log that cannot be written (/dev/full) loses lines, not requests', {
  timeout: 60_000,
}, async (t) => {
  const full = openSync('/dev/full', 'w')
  const server = await startLoggingTo(t, full)
  closeSync(full)
  await server.ask(600)
  assert.ok((await server.dropped()) > 300)
  assert.match(server.stderr(), /^onnxpress: the log cannot be written .*ENOSPC.*\n$/)
  await assertStops(server)
})

/** A file system of this size; undefined if it cannot be mounted. */
function mountSmall(t: TestContext, size: string): string | undefined {
  const folder = mkdtempSync(join(tmpdir(), 'onnxpress-log-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'onnxpress', folder], { stdio: 'ignore' })
  } catch {
    rmSync(folder, { recursive: true })
    return undefined
  }
  t.after(() => {
    execFileSync('umount', ['-l', folder])
    rmSync(folder, { recursive: true })
  })
  return folder
}

test('a full log disk loses lines, and the log says so once it is writable again', {
  timeout: 60_000,
}, async (t) => {
  const folder = mountSmall(t, '2m')
  if (!folder) return t.skip('a tmpfs cannot be mounted here')
  const [log, ballast] = [join(folder, 'log'), join(folder, 'ballast')]
  writeFileSync(ballast, Buffer.alloc(1.5 * 2 ** 20))
  const file = openSync(log, 'a')
  const server = await startLoggingTo(t, file)
  closeSync(file)
  await server.ask(600)
  const dropped = await server.dropped()
  assert.ok(dropped > 300, `${dropped} lines were dropped`)
  assert.ok(statSync(log).size > 2 ** 18)
  rmSync(ballast)
  const isReported = () => readFileSync(log, 'utf8').includes('log lines were dropped')
  while (!isReported()) await setTimeout(20)
  await server.ask(1)
  await assertStops(server)
  const lines = readFileSync(log, 'utf8').trimEnd().split('\n')
  const parsed = lines.map((line) => JSON.parse(line) as { msg: string; dropped?: number })
  const reports = parsed.filter(({ msg }) => msg.includes('log lines were dropped'))
  assert.deepEqual(
    reports.map((line) => line.dropped),
    [dropped],
  )
  const requests = parsed.filter(({ msg }) => msg === 'request').length
  assert.equal(requests + dropped, 601)
})

test('a pipe without a reader loses lines, not requests', { timeout: 60_000 }, async (t) => {
  const server = await startLoggingTo(t, 'pipe')
  await server.ask(600)
  const dropped = await server.dropped()
  assert.ok(dropped > 200, `${dropped} lines were dropped`)
  let text = ''
  server.child.stdout!.setEncoding('utf8').on('data', (chunk) => {
    text += chunk
  })
  while (!text.includes('log lines were dropped')) await setTimeout(20)
  assert.ok(text.includes(`"dropped":${dropped}`), text.slice(-300))
  await assertStops(server)
})

test('a full pipe does not delay the shutdown', { timeout: 60_000 }, async (t) => {
  const server = await startLoggingTo(t, 'pipe')
  await server.ask(300)
  await assertStops(server)
})

test('a log reader that exits costs no requests', { timeout: 60_000 }, async (t) => {
  const server = await startLoggingTo(t, 'pipe')
  server.child.stdout!.destroy()
  await server.ask(300)
  await assertStops(server)
})

test('on a terminal a line has the time, the level, the message and the fields', {
  timeout: 60_000,
}, async (t) => {
  const port = await freePort()
  // from util-linux: runs a command on its own terminal
  const child = spawn('script', ['-qefc', `exec "${process.execPath}" server.js`, '/dev/null'], {
    cwd: ROOT,
    env: { PATH: process.env.PATH, PORT: String(port), MODEL_DIR, NO_COLOR: '1' },
    stdio: ['pipe', 'pipe', 'ignore'],
  })
  let isMissing = false
  child.on('error', () => {
    isMissing = true
  })
  t.after(() => child.stdin.on('error', () => {}).end('\x03\x03'))
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    text += chunk
  })
  while (!text.includes('serving') && !isMissing) await setTimeout(20)
  if (isMissing) return t.skip('there is no script command')
  await fetch(`http://127.0.0.1:${port}/predict?dims=1,1`, { method: 'POST', body: Float32Array.of(5) })
  while (!text.includes('/predict')) await setTimeout(20)
  assert.match(text, /^\d\d:\d\d:\d\d\.\d\d\d INFO {2}serving linear on cpu at http:\S+\r$/m)
  assert.match(text, /^\S+ INFO {2}request .*method=POST .*path=\/predict .*status=200 .*label=9\b/m)
  const exited = once(child, 'exit')
  child.stdin.write('\x03')
  assert.equal((await exited)[0], 0)
})
