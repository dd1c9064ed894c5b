/**
 * This server and its peers, side by side on this machine: npm run bench:peers [-- WORKLOAD ... --only NAME]
 *
 * Writes bench/results.jsonl, from which bench/report.ts makes RESULTS.md. Needs wrk, Python 3.11 or newer, Java 17 for
 * TorchServe, and three quarters of an hour; the first run installs the peers.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { freePort } from '../test/running_server.ts'
import { bestRate, load, median } from './load.ts'
import { openLoop, summary } from './open_loop.ts'
import { cpuSeconds, end, launch, memoryMb, pause, type Running, resume } from './processes.ts'
import { type Measured, type Results, readResults, writeResults } from './results.ts'
import { CONTENDERS, type Contender, expectedOf, MODELS, PEERS, program, readAnswer } from './servers.ts'
import { WORKLOADS, type Workload } from './workloads.ts'

const CONNECTIONS = [1, 8, 64]

interface Live {
  contender: Contender
  running: Running
  url: string
  measured: Measured
}

/** Start a server, and wait for its first response, which must match PyTorch's. */
async function start(contender: Contender, { model, kind }: Workload): Promise<Live> {
  const port = await freePort()
  const how = contender.start(model, port)
  const url = `http://127.0.0.1:${port}`
  const { path, contentType = 'application/octet-stream', headers, body } = contender.request(kind, model)!
  const begun = performance.now()
  const running = launch(how, PEERS)
  for (;;) {
    const options = {
      method: 'POST',
      headers: { 'content-type': contentType, ...headers },
      body: new Uint8Array(body),
    }
    const answer = await fetch(url + path, options).then(
      async (response) => ({ isOk: response.ok, text: await response.text() }),
      () => undefined,
    )
    if (answer?.isOk) {
      const startMs = performance.now() - begun
      checkAnswer(contender, model, answer.text)
      return {
        contender,
        running,
        url,
        measured: { contender: contender.name, startMs, closed: [], open: [], memoryMb: 0 },
      }
    }
    if (performance.now() - begun > 120_000 || running.child.exitCode !== null) {
      await end(running)
      throw new Error(`${contender.name} did not start: ${answer?.text ?? ''} ${running.output()}`)
    }
    await setTimeout(5)
  }
}

function checkAnswer({ name }: Contender, model: string, text: string): void {
  const { label, score } = readAnswer(text)
  const expected = expectedOf(model)
  // decoders and resizing differ by a level here and there
  if (label === expected.label && Math.abs(score - expected.score) < 0.02 * expected.score) return
  throw new Error(`${name} answers ${label} (${score}), expected ${expected.label} (${expected.score})`)
}

async function measureRound(live: Live, { model, kind, seconds }: Workload): Promise<void> {
  const { contender, url, measured, running } = live
  const payload = contender.request(kind, model)!
  for (const connections of CONNECTIONS) {
    const cpuBefore = cpuSeconds(running.child.pid!)
    const { perSecond, p50Ms, p99Ms, errors } = await load(url, payload, connections, seconds)
    const cores = (cpuSeconds(running.child.pid!) - cpuBefore) / seconds
    let row = measured.closed.find((closed) => closed.connections === connections)
    if (!row) {
      row = { connections, perSecond: [], p50Ms: [], p99Ms: [], errors: 0, cores: 0 }
      measured.closed.push(row)
    }
    row.perSecond.push(perSecond)
    row.p50Ms.push(p50Ms)
    row.p99Ms.push(p99Ms)
    row.errors += errors
    row.cores = cores
  }
}

async function latencies(
  { contender, url }: Live,
  { model, kind }: Workload,
  perSecond: number,
  seconds: number,
): Promise<{ p50Ms: number; p99Ms: number; errors: number }> {
  return summary(await openLoop(url, contender.request(kind, model)!, perSecond, seconds))
}

/** At shares of its own best rate. */
async function measureOpen(live: Live, workload: Workload): Promise<void> {
  for (const share of [0.5, 0.8]) {
    const perSecond = share * bestRate(live.measured.closed)
    const { p50Ms, p99Ms, errors } = await latencies(live, workload, perSecond, workload.seconds + 1)
    live.measured.open.push({ share, perSecond, p50Ms, p99Ms, errors })
  }
}

/** The load of `EqualLoad`, in requests per second; undefined without a peer. */
function equalLoadOf(lives: Live[]): number | undefined {
  const peers = lives.filter(({ contender }) => contender.environment !== undefined)
  return peers.length === 0
    ? undefined
    : Math.max(...peers.map(({ measured }) => bestRate(measured.closed))) / 2
}

async function measureEqual(live: Live, workload: Workload, perSecond: number): Promise<void> {
  if (bestRate(live.measured.closed) < perSecond) return
  const { p50Ms, p99Ms, errors } = await latencies(live, workload, perSecond, workload.seconds)
  live.measured.equal ??= { perSecond, p50Ms: [], p99Ms: [], errors: 0 }
  const { equal } = live.measured
  equal.p50Ms.push(p50Ms)
  equal.p99Ms.push(p99Ms)
  equal.errors += errors
}

/** All servers are started, but paused; in every round each one has its turn. */
async function measure(workload: Workload, contenders: Contender[]): Promise<Measured[]> {
  console.log(workload.title)
  const lives: Live[] = []
  try {
    for (const contender of contenders) {
      if (!contender.request(workload.kind, workload.model)) continue
      try {
        const live = await start(contender, workload)
        lives.push(live)
        await load(live.url, contender.request(workload.kind, workload.model)!, 16, 2) // warm-up
        pause(live.running)
      } catch (error) {
        console.log(`  left out: ${String(error).slice(0, 300)}`)
      }
    }
    /** Each has its turn, while the others are paused. */
    const inTurn = async (turn: (live: Live) => Promise<void>) => {
      for (const live of lives) {
        resume(live.running)
        await turn(live)
        pause(live.running)
      }
    }
    for (let round = 0; round < workload.rounds; round++) {
      await inTurn((live) => measureRound(live, workload))
    }
    const equalLoad = equalLoadOf(lives)
    for (let round = 0; equalLoad && round < workload.rounds; round++) {
      await inTurn((live) => measureEqual(live, workload, equalLoad))
    }
    await inTurn(async (live) => {
      await measureOpen(live, workload)
      live.measured.memoryMb = memoryMb(live.running.child.pid!)
      const { contender, closed } = live.measured
      console.log(
        `  ${contender}: ${closed.map(({ perSecond }) => median(perSecond).toFixed(0)).join(', ')} per second`,
      )
    })
    return lives.map(({ measured }) => measured)
  } finally {
    for (const { running } of lives) {
      resume(running)
      await end(running)
    }
  }
}

function versions(): Record<string, string> {
  const first = (command: string, ...args: string[]) =>
    execFileSync(command, args, { encoding: 'utf8' }).split('\n')[0]
  const lock = JSON.parse(readFileSync(new URL('../package-lock.json', import.meta.url), 'utf8'))
  const environments = [...new Set(CONTENDERS.flatMap(({ environment }) => environment ?? []))]
  const python = environments.flatMap((name) =>
    readFileSync(join(PEERS, `${name}.txt`), 'utf8')
      .trim()
      .split('\n')
      .map((line) => line.split('==')),
  )
  return {
    Node: process.version,
    'onnxruntime-node': lock.packages['node_modules/onnxruntime-node'].version,
    Python: first(program('fastapi', 'python'), '--version').replace('Python ', ''),
    ...Object.fromEntries(python),
  }
}

/** Installed size of each in MB (10^6 bytes), without CUDA's libraries, which a CPU does not need. */
function installed(): Record<string, number> {
  const size = (...args: string[]) => {
    const lines = execFileSync('du', ['-sbc', ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
    return Number(lines.split('\n').at(-1)!.split('\t')[0]) / 1e6
  }
  const environments = [...new Set(CONTENDERS.flatMap(({ environment }) => environment ?? []))]
  const python = environments.map((name) => [
    name,
    size('--exclude=nvidia', '--exclude=triton', '--exclude=*cuda*', join(PEERS, '.venvs', name)),
  ])
  return Object.fromEntries(python)
}

if (!existsSync(join(MODELS, 'mnist/expected.json'))) {
  execFileSync(program('torch', 'python'), [join(PEERS, 'make_models.py'), MODELS], { stdio: 'inherit' })
}
const { positionals: chosen, values } = parseArgs({
  allowPositionals: true,
  options: { only: { type: 'string' } },
})
const results: Results = {
  date: new Date().toISOString().slice(0, 10),
  machine: `${cpus().length} cores, ${cpus()[0].model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB`,
  versions: versions(),
  installedMb: installed(),
  workloads: readResults()?.workloads ?? [],
}
for (const workload of WORKLOADS) {
  if (chosen.length > 0 && !chosen.includes(workload.name)) continue
  const contenders = CONTENDERS.filter(({ name }) => name.includes(values.only ?? ''))
  const measured = await measure(workload, contenders)
  const [before, others] = [true, false].map((isIt) =>
    results.workloads.filter((other) => (other.workload.name === workload.name) === isIt),
  )
  // with --only, the others keep their earlier results
  const isNew = new Set(measured.map(({ contender }) => contender))
  const kept = values.only
    ? before.flatMap((one) => one.measured.filter(({ contender }) => !isNew.has(contender)))
    : []
  const order = CONTENDERS.map(({ name }) => name)
  const all = [...kept, ...measured].sort((x, y) => order.indexOf(x.contender) - order.indexOf(y.contender))
  results.workloads = [...others, { workload, measured: all }].sort((x, y) =>
    x.workload.name.localeCompare(y.workload.name),
  )
  writeResults(results)
}
process.exit(0)
