/**
 * Attacks on the real server, and their cost for other clients: npm run bench:attack [-- --minutes N] [--only TEXT]
 *
 * Four attackers at once, each attack on a server of its own that has the image's environment, for 15 seconds, or for an
 * equal share of `--minutes`. `--only` picks attacks by a part of their names. Meanwhile an honest client sends PNG
 * files, another one sends tensors, and a probe requests /livez. At the end, during the attack, the server gets SIGTERM.
 * Prints one table, and exits with 1 if a limit is exceeded. Linux only (/proc).
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { freePort, ROOT } from '../test/running_server.ts'
import { ATTACKS, type Attack, type LogTarget, type Target } from './attacks.ts'
import { median, type Payload } from './load.ts'
import { CONTAINER } from './memory.ts'
import { type Outcome, percentile, send } from './open_loop.ts'
import { memoryMb, processTree } from './processes.ts'

const ATTACKERS = 4
const SHORT_S = 15
const SHUTDOWN_MS = 3000
/** Time for the server to exit before it is killed. */
const PATIENCE_MS = 20_000
const SAMPLE_MS = 500

const { values: options } = parseArgs({ options: { minutes: { type: 'string' }, only: { type: 'string' } } })
const chosen = ATTACKS.filter(({ name }) => name.toLowerCase().includes((options.only ?? '').toLowerCase()))
const seconds = options.minutes ? Math.max(SHORT_S, (Number(options.minutes) * 60) / chosen.length) : SHORT_S
/** In a shorter run, the memory of a single image looks like growth. */
const LONG_S = 60

/** The limits. */
const BARS = {
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
  endMs: SHUTDOWN_MS + 2000,
}

interface Result {
  statuses: Map<number | string, number>
  livezMs: number
  pngMs: number
  tensorMs: number
  /** honest requests and probes without a 200 */
  failed: number
  memoryMb: number
  /** responses to the attack that are neither 4xx, nor 503, nor a legal 200 */
  illegal: number
  slowestMs: number
  /** most open files, connections included */
  files: number
  /** from the second third of the run to the last: the median of memory, the fewest files and threads */
  growthMb: number
  growthFiles: number
  growthThreads: number
  endMs: number
}

// --------------------------------------------------------------------------------------------------- the server

interface Server {
  url: string
  child: ChildProcess
  end(): Promise<number>
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
    async end() {
      const begun = performance.now()
      child.kill('SIGTERM')
      const timer = globalThis.setTimeout(() => child.kill('SIGKILL'), PATIENCE_MS)
      await exited
      clearTimeout(timer)
      running.delete(child)
      return performance.now() - begun
    },
  }
}

// ------------------------------------------------------------------------------------------------ counters

/** Requests and their outcomes. */
class Tally {
  readonly outcomes: Outcome[] = []
  readonly #open = new Set<number>()

  async count(answer: Promise<Outcome>): Promise<void> {
    const begun = performance.now()
    this.#open.add(begun)
    const outcome = await answer
    this.outcomes.push(outcome)
    this.#open.delete(begun)
  }

  /** Open requests count with the time that they have waited so far. */
  close(): { times: number[]; answered: Outcome[] } {
    const now = performance.now()
    const answered = [...this.outcomes]
    return {
      answered,
      times: [...answered.map(({ ms }) => ms), ...[...this.#open].map((begun) => now - begun)],
    }
  }
}

async function probe(url: string): Promise<Outcome> {
  const begun = performance.now()
  const response = await fetch(`${url}/livez`).catch(() => undefined)
  await response?.text().catch(() => '')
  return { status: response?.status ?? 0, ms: performance.now() - begun }
}

/** Repeat a request, with pauses. */
async function keepAsking(tally: Tally, isOver: () => boolean, pauseMs: number, ask: () => Promise<Outcome>) {
  while (!isOver()) {
    await tally.count(ask())
    await setTimeout(pauseMs)
  }
}

/** Memory, open files and threads of all of a server's processes, until the end. */
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

/** @param typical of one third of the run */
function growth(values: number[], typical: (third: number[]) => number): number {
  const third = Math.floor(values.length / 3)
  return typical(values.slice(-third)) - typical(values.slice(third, 2 * third))
}

/** The connections of the attackers and the threads of decoders come and go: what stays is among the fewest. */
const fewest = (values: number[]) => Math.min(...values)

// ---------------------------------------------------------------------------------------------------- one attack

const PNG: Payload = { path: '/predict', body: readFileSync(`${ROOT}/models/mnist/sample.png`) }
const TENSOR: Payload = {
  path: '/predict?dims=1,28,28',
  body: Buffer.from(new Float32Array(784).fill(0.5).buffer),
}

async function measure(attack: Attack): Promise<Result> {
  const attacker = await attack.prepare()
  const server = await start(attack.log ?? 'discarded')
  const [livez, png, tensor, attacks] = [new Tally(), new Tally(), new Tally(), new Tally()]
  let isMeasured = false // from then on, only the attack continues
  let isOver = false
  const target: Target = {
    url: server.url,
    isOver: () => isOver,
    ask: (payload) => attacks.count(send(server.url, payload)),
  }
  for (let i = 0; i < 10; i++) await send(server.url, i % 2 ? PNG : TENSOR) // the first requests compile the code
  const samples = watchResources(server.child.pid!, () => isMeasured)
  const clients = [
    keepAsking(
      livez,
      () => isMeasured,
      20,
      () => probe(server.url),
    ),
    keepAsking(
      png,
      () => isMeasured,
      30,
      () => send(server.url, PNG),
    ),
    keepAsking(
      tensor,
      () => isMeasured,
      30,
      () => send(server.url, TENSOR),
    ),
    ...Array.from({ length: ATTACKERS }, () => attacker(target)),
  ]
  await setTimeout(seconds * 1000)
  isMeasured = true
  const [livezTally, pngTally, tensorTally, attackTally] = [livez, png, tensor, attacks].map((tally) =>
    tally.close(),
  )
  const resources = await samples
  const endMs = await server.end()
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
    endMs,
  }
}

// ----------------------------------------------------------------------------------------------------- the table

const COLUMNS: [title: string, bar: keyof typeof BARS | undefined, value: (result: Result) => number][] = [
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
  ['end ms', 'endMs', ({ endMs }) => endMs],
]
const NAME_WIDTH = Math.max(...ATTACKS.map(({ name }) => name.length))

function row(name: string, cells: string[], rest: string): string {
  const padded = cells.map((cell, index) => cell.padStart(COLUMNS[index][0].length + 2))
  return [name.padEnd(NAME_WIDTH), ...padded, '', rest].join(' ')
}

/** A value with `!` exceeds its limit. */
function cellsOf(result: Result): string[] {
  return COLUMNS.map(([, bar, value]) => {
    const number = value(result)
    // NaN: there was no response at all
    return `${number.toFixed(0)}${bar && !(number <= BARS[bar]) ? '!' : ' '}`
  })
}

function statusText({ statuses }: Result): string {
  return [...statuses].map(([status, count]) => `${status}: ${count}`).join(', ')
}

console.log(
  `${chosen.length} attacks of ${seconds.toFixed(0)} s, by ${ATTACKERS} attackers; ! is over the limit`,
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
    COLUMNS.map(([, bar]) => `${bar && Number.isFinite(BARS[bar]) ? BARS[bar] : ''} `),
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
console.log(missed === 0 ? 'all limits are kept' : `${missed} of ${chosen.length} attacks exceed a limit`)
process.exit(missed === 0 ? 0 : 1)
