/**
 * Attacks on the real server, and their cost for other clients: npm run bench:attack [-- --minutes N] [--only TEXT]
 *
 * Each attack has its own server, with the container image's environment, and four attackers. It lasts 15 seconds, or
 * an equal share of `--minutes`. `--only` selects attacks by a part of their names. Meanwhile one honest client sends
 * PNG files, another sends tensors, and a probe requests /livez. The server gets SIGTERM while the attack continues.
 * Prints one table, and exits with 1 if a limit is exceeded. Linux only (/proc).
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readdirSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { freePort, ROOT } from '../test/running_server.ts'
import { ATTACKS, type Attack, type LogTarget, type Target } from './attacks.ts'
import { median } from './load.ts'
import { CONTAINER } from './memory.ts'
import { type Outcome, percentile, send } from './open_loop.ts'
import { PNG, TENSOR_BYTES } from './payloads.ts'
import { memoryMb, processTree } from './processes.ts'

const ATTACKERS = 4
const SHORT_S = 15
const SHUTDOWN_MS = 3000
const KILL_AFTER_MS = 20_000
const SAMPLE_MS = 500

const { values: options } = parseArgs({ options: { minutes: { type: 'string' }, only: { type: 'string' } } })
const chosen = ATTACKS.filter(({ name }) => name.toLowerCase().includes((options.only ?? '').toLowerCase()))
if (chosen.length === 0) throw new Error(`--only ${options.only}: no attack has this in its name`)
const seconds = options.minutes ? Math.max(SHORT_S, (Number(options.minutes) * 60) / chosen.length) : SHORT_S
/** In a shorter run, the memory of a single image looks like growth. */
const LONG_S = 60

const LIMITS = {
  livezMs: 100,
  honestMs: 2000,
  failed: 0,
  memoryMb: 1024,
  illegal: 0,
  slowestMs: 5000,
  files: 1000,
  growthMb: seconds < LONG_S ? Number.POSITIVE_INFINITY : 100,
  growthFiles: 50,
  growthThreads: 4,
  shutdownMs: SHUTDOWN_MS + 2000,
}

interface Result {
  statuses: Map<number | string, number>
  livezMs: number
  pngMs: number
  tensorMs: number
  /** honest requests and probes without a 200 */
  failed: number
  memoryMb: number
  /** responses to the attack other than 4xx, 503 and a legal 200 */
  illegal: number
  slowestMs: number
  /** peak of open files, connections included */
  files: number
  /** from the second third of the run to the last: medians of memory and threads, minima of files */
  growthMb: number
  growthFiles: number
  growthThreads: number
  shutdownMs: number
}

// --------------------------------------------------------------------------------------------------- the server

interface Server {
  url: string
  child: ChildProcess
  /** SIGTERM. @returns the milliseconds until it has exited */
  stop(): Promise<number>
}

const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

async function start(log: LogTarget): Promise<Server> {
  const port = await freePort()
  const stdout = log === 'unread' ? 'pipe' : openSync(log === 'full' ? '/dev/full' : '/dev/null', 'w')
  const { PATH, HOME } = process.env
  const env = { PATH, HOME, NODE_ENV: 'production', ORT_DISABLE_TELEMETRY: '1', ...CONTAINER }
  const child = spawn(process.execPath, ['server.js'], {
    cwd: ROOT,
    env: { ...env, PORT: String(port), SHUTDOWN_MS: String(SHUTDOWN_MS) },
    stdio: ['ignore', stdout, 'ignore'],
  })
  running.add(child)
  if (typeof stdout === 'number') closeSync(stdout)
  const exited = once(child, 'exit')
  const url = `http://127.0.0.1:${port}`
  const deadline = performance.now() + 10_000
  while (!(await fetch(`${url}/readyz`, { signal: AbortSignal.timeout(1000) }).catch(() => undefined))?.ok) {
    if (performance.now() > deadline) {
      child.kill('SIGKILL')
      throw new Error('the server did not start')
    }
    await setTimeout(50)
  }
  return {
    url,
    child,
    async stop() {
      const startedAt = performance.now()
      child.kill('SIGTERM')
      const timer = globalThis.setTimeout(() => child.kill('SIGKILL'), KILL_AFTER_MS)
      await exited
      clearTimeout(timer)
      running.delete(child)
      return performance.now() - startedAt
    },
  }
}

// ------------------------------------------------------------------------------------------------ counters

class Tally {
  readonly outcomes: Outcome[] = []
  readonly #open = new Set<number>()

  async count(request: Promise<Outcome>): Promise<void> {
    const startedAt = performance.now()
    this.#open.add(startedAt)
    const outcome = await request
    this.outcomes.push(outcome)
    this.#open.delete(startedAt)
  }

  /** Open requests count with their wait so far. */
  close(): { times: number[]; answered: Outcome[] } {
    const now = performance.now()
    const answered = [...this.outcomes]
    return {
      answered,
      times: [...answered.map(({ ms }) => ms), ...[...this.#open].map((startedAt) => now - startedAt)],
    }
  }
}

async function probe(url: string): Promise<Outcome> {
  const startedAt = performance.now()
  const response = await fetch(`${url}/livez`).catch(() => undefined)
  await response?.text().catch(() => '')
  return { status: response?.status ?? 0, ms: performance.now() - startedAt }
}

/** Repeat a request, with pauses. */
async function repeat(tally: Tally, isOver: () => boolean, pauseMs: number, ask: () => Promise<Outcome>) {
  while (!isOver()) {
    await tally.count(ask())
    await setTimeout(pauseMs)
  }
}

/** Sample the memory, open files and threads of all processes of a server. */
async function watchResources(pid: number, isOver: () => boolean) {
  const samples: { mb: number; files: number; threads: number }[] = []
  const countIn = (folder: string) =>
    processTree(pid).reduce((sum, each) => {
      try {
        return sum + readdirSync(`/proc/${each}/${folder}`).length
      } catch {
        return sum // it has exited
      }
    }, 0)
  while (!isOver()) {
    samples.push({ mb: memoryMb(pid), files: countIn('fd'), threads: countIn('task') })
    await setTimeout(SAMPLE_MS)
  }
  return samples
}

/** @param typical value of one third of the run */
function growth(values: number[], typical: (third: number[]) => number): number {
  const third = Math.floor(values.length / 3)
  return typical(values.slice(-third)) - typical(values.slice(third, 2 * third))
}

/** The attackers' connections come and go: only the minimum shows a leak. */
const fewest = (values: number[]) => Math.min(...values)

// ---------------------------------------------------------------------------------------------------- one attack

async function measure(attack: Attack): Promise<Result> {
  const attacker = await attack.prepare()
  const server = await start(attack.log ?? 'discarded')
  const [livez, png, tensor, attacks] = [new Tally(), new Tally(), new Tally(), new Tally()]
  let isMeasured = false // once true, only the attack continues
  let isOver = false
  const target: Target = {
    url: server.url,
    isOver: () => isOver,
    ask: (payload) => attacks.count(send(server.url, payload)),
  }
  for (let i = 0; i < 10; i++) await send(server.url, i % 2 ? PNG : TENSOR_BYTES) // the first requests compile the code
  const samples = watchResources(server.child.pid!, () => isMeasured)
  const clients = [
    repeat(
      livez,
      () => isMeasured,
      20,
      () => probe(server.url),
    ),
    repeat(
      png,
      () => isMeasured,
      30,
      () => send(server.url, PNG),
    ),
    repeat(
      tensor,
      () => isMeasured,
      30,
      () => send(server.url, TENSOR_BYTES),
    ),
    ...Array.from({ length: ATTACKERS }, () => attacker(target)),
  ]
  await setTimeout(seconds * 1000)
  isMeasured = true
  const [livezTally, pngTally, tensorTally, attackTally] = [livez, png, tensor, attacks].map((tally) =>
    tally.close(),
  )
  const resources = await samples
  const shutdownMs = await server.stop()
  isOver = true
  await Promise.all(clients)

  const statuses = new Map<number | string, number>()
  const count = (status: number | string) => statuses.set(status, (statuses.get(status) ?? 0) + 1)
  for (const { status } of attackTally.answered) count(status || 'closed')
  const openCount = attackTally.times.length - attackTally.answered.length
  if (openCount > 0) statuses.set('open', openCount)
  const isLegal = ({ status }: Outcome) =>
    (status >= 400 && status < 500) || status === 503 || (status === 200 && attack.mayBe200)
  const honest = [livezTally, pngTally, tensorTally].flatMap(({ answered }) => answered)
  return {
    statuses,
    livezMs: percentile(livezTally.times, 0.99),
    pngMs: percentile(pngTally.times, 0.99),
    tensorMs: percentile(tensorTally.times, 0.99),
    failed: honest.filter(({ status }) => status !== 200).length,
    memoryMb: Math.max(...resources.map(({ mb }) => mb)),
    illegal: attackTally.answered.filter((outcome) => !isLegal(outcome)).length,
    slowestMs: Math.max(0, ...attackTally.times),
    files: Math.max(...resources.map(({ files }) => files)),
    growthMb: growth(
      resources.map(({ mb }) => mb),
      median,
    ),
    growthFiles: growth(
      resources.map(({ files }) => files),
      fewest,
    ),
    growthThreads: growth(
      resources.map(({ threads }) => threads),
      median,
    ),
    shutdownMs,
  }
}

// ----------------------------------------------------------------------------------------------------- the table

const COLUMNS: [title: string, limit: keyof typeof LIMITS | undefined, value: (result: Result) => number][] =
  [
    ['/livez ms', 'livezMs', ({ livezMs }) => livezMs],
    ['PNG ms', 'honestMs', ({ pngMs }) => pngMs],
    ['tensor ms', 'honestMs', ({ tensorMs }) => tensorMs],
    ['failed', 'failed', ({ failed }) => failed],
    ['MB', 'memoryMb', (result) => result.memoryMb],
    ['slowest ms', 'slowestMs', ({ slowestMs }) => slowestMs],
    ['illegal', 'illegal', ({ illegal }) => illegal],
    ['files', 'files', (result) => result.files],
    ['+MB', 'growthMb', ({ growthMb }) => growthMb],
    ['+files', 'growthFiles', ({ growthFiles }) => growthFiles],
    ['+threads', 'growthThreads', ({ growthThreads }) => growthThreads],
    ['shutdown ms', 'shutdownMs', ({ shutdownMs }) => shutdownMs],
  ]
const NAME_WIDTH = Math.max(...ATTACKS.map(({ name }) => name.length))

function row(name: string, cells: string[], rest: string): string {
  const padded = cells.map((cell, index) => cell.padStart(COLUMNS[index][0].length + 2))
  return [name.padEnd(NAME_WIDTH), ...padded, '', rest].join(' ')
}

/** A value with `!` exceeds its limit. */
function cellsOf(result: Result): string[] {
  return COLUMNS.map(([, limit, value]) => {
    const number = value(result)
    // NaN, from a missing response, exceeds every limit
    return `${number.toFixed(0)}${limit && !(number <= LIMITS[limit]) ? '!' : ' '}`
  })
}

function statusText({ statuses }: Result): string {
  return [...statuses].map(([status, count]) => `${status}: ${count}`).join(', ')
}

console.log(
  `${chosen.length} attacks of ${seconds.toFixed(0)} s, by ${ATTACKERS} attackers; ! marks a value over its limit`,
)
console.log(
  row(
    'p99 of honest requests',
    COLUMNS.map(([title]) => `${title} `),
    'responses to the attack',
  ),
)
console.log(
  row(
    'limit',
    COLUMNS.map(([, limit]) => `${limit && Number.isFinite(LIMITS[limit]) ? LIMITS[limit] : ''} `),
    '4xx, 503, or 200 where legal',
  ),
)
let missed = 0
for (const attack of chosen) {
  try {
    const result = await measure(attack)
    const cells = cellsOf(result)
    if (cells.some((cell) => cell.endsWith('!'))) missed++
    console.log(row(attack.name, cells, statusText(result)))
  } catch (error) {
    missed++
    console.log(`${attack.name.padEnd(NAME_WIDTH)} ${(error as Error).message}!`)
  }
}
console.log(missed === 0 ? 'no limit was exceeded' : `${missed} of ${chosen.length} attacks exceeded a limit`)
process.exit(missed === 0 ? 0 : 1)
