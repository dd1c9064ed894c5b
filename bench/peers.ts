/**
 * This server and its peers, side by side on this machine: npm run bench:peers [-- WORKLOAD ... --only NAME]
 *
 * Writes bench/results.jsonl, from which bench/report.ts makes RESULTS.md. Needs wrk, Python 3.11 or newer, Java 17 for
 * TorchServe, and two hours. The first run installs the peers.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { freePort } from '../test/running_server.ts'
import { bestRate, load, median, type Payload } from './load.ts'
import { type Outcome, openLoop, summary } from './open_loop.ts'
import { launch, memoryMb, pause, type Running, resume, stop, untilIdle, withCores } from './processes.ts'
import { type Measured, type Results, readResults, writeResults } from './results.ts'
import {
  CONTENDERS,
  type Contender,
  expectedOf,
  isPeer,
  MODELS,
  PEERS,
  program,
  readPrediction,
} from './servers.ts'
import { ROUNDS, WORKLOADS, type Workload } from './workloads.ts'

const CONNECTIONS = [1, 8, 64]

/** A server that was idle is slow for a moment, which is not measured. */
const SETTLING_SECONDS = 2
const IDLE_MS = 5000
const FEW_REQUESTS = 300

interface Server {
  contender: Contender
  running: Running
  url: string
  payload: Payload
  measured: Measured
  /** of the equal load, by round */
  outcomes: Outcome[][]
}

/** Start a server, and wait for its first response, which must match PyTorch's. */
async function start(contender: Contender, { model, kind }: Workload): Promise<Server> {
  const port = await freePort()
  const command = contender.start(model, port)
  const url = `http://127.0.0.1:${port}`
  const payload = contender.request(kind, model)!
  const { path, contentType = 'application/octet-stream', headers, body } = payload
  const startedAt = performance.now()
  const running = launch(command, PEERS)
  for (;;) {
    const options = {
      method: 'POST',
      headers: { 'content-type': contentType, ...headers },
      body: new Uint8Array(body),
    }
    const response = await fetch(url + path, options).then(
      async (response) => ({ isOk: response.ok, text: await response.text() }),
      () => undefined,
    )
    if (response?.isOk) {
      const startMs = performance.now() - startedAt
      checkPrediction(contender, model, response.text)
      return {
        contender,
        running,
        url,
        payload,
        measured: { contender: contender.name, startMs, closed: [], open: [], memoryMb: 0 },
        outcomes: [],
      }
    }
    if (performance.now() - startedAt > 120_000 || running.child.exitCode !== null) {
      await stop(running)
      throw new Error(`${contender.name} did not start: ${response?.text ?? ''} ${running.output()}`)
    }
    await setTimeout(5)
  }
}

function checkPrediction({ name }: Contender, model: string, text: string): void {
  const { label, score } = readPrediction(text)
  const expected = expectedOf(model)
  // decoders and resizes differ by a level in places
  if (label === expected.label && Math.abs(score - expected.score) < 0.02 * expected.score) return
  throw new Error(`${name} returned ${label} (${score}), expected ${expected.label} (${expected.score})`)
}

async function measureRound(server: Server, { seconds }: Workload): Promise<void> {
  const { url, payload, measured, running } = server
  for (const connections of CONNECTIONS) {
    const measureLoad = () => load(url, payload, connections, seconds)
    const { result, cores } = await withCores(running.child.pid!, measureLoad)
    const { perSecond, p50Ms, p99Ms, errors } = result
    let row = measured.closed.find((closed) => closed.connections === connections)
    if (!row) {
      row = { connections, perSecond: [], p50Ms: [], p99Ms: [], errors: 0, cores: [] }
      measured.closed.push(row)
    }
    row.perSecond.push(perSecond)
    row.p50Ms.push(p50Ms)
    row.p99Ms.push(p99Ms)
    row.errors += perSecond === 0 ? connections : errors
    row.cores.push(cores)
  }
}

/** Latencies at shares of the server's own best rate. */
async function measureOpen({ url, payload, measured }: Server, { seconds }: Workload): Promise<void> {
  for (const share of [0.5, 0.8]) {
    const perSecond = share * bestRate(measured.closed)
    const outcomes = await openLoop(url, payload, perSecond, seconds + 1)
    measured.open.push({ share, perSecond, ...summary(outcomes) })
  }
}

/** The load of `EqualLoad`, in requests per second; undefined without a peer. */
function equalLoadOf(servers: Server[]): number | undefined {
  const peers = servers.filter(({ contender }) => isPeer(contender))
  return peers.length === 0
    ? undefined
    : Math.max(...peers.map(({ measured }) => bestRate(measured.closed))) / 2
}

async function measureEqual(server: Server, { seconds }: Workload, perSecond: number): Promise<void> {
  const { url, payload, measured, outcomes } = server
  if (bestRate(measured.closed) < perSecond) return
  outcomes.push(await openLoop(url, payload, perSecond, seconds))
  // the p99 of a few requests is their slowest one
  const groups = outcomes[0].length < FEW_REQUESTS ? [outcomes.flat()] : outcomes
  const summaries = groups.map(summary)
  measured.equal = {
    perSecond,
    p50Ms: summaries.map(({ p50Ms }) => p50Ms),
    p99Ms: summaries.map(({ p99Ms }) => p99Ms),
    errors: summaries.reduce((sum, { errors }) => sum + errors, 0),
  }
}

/** An idle server that uses the processor would disturb the others. */
async function reportBusy(servers: Server[]): Promise<void> {
  const idle = setTimeout(IDLE_MS)
  const used = await Promise.all(servers.map(({ running }) => withCores(running.child.pid!, () => idle)))
  for (const [index, { cores }] of used.entries()) {
    const { name } = servers[index].contender
    if (cores > 0.01) console.log(`  ${name} uses ${(100 * cores).toFixed(1)} % of a core while idle`)
  }
}

/** All servers run, and take turns in each round. */
async function measure(workload: Workload, contenders: Contender[]): Promise<Measured[]> {
  console.log(workload.title)
  const servers: Server[] = []
  try {
    for (const contender of contenders) {
      if (!contender.request(workload.kind, workload.model)) continue
      try {
        const server = await start(contender, workload)
        servers.push(server)
        const { seconds, connections } = workload.warmUp
        for (const each of connections) await load(server.url, server.payload, each, seconds)
        await untilIdle(server.running)
        if (contender.neverIdle) pause(server.running)
      } catch (error) {
        console.log(`  skipped: ${String(error).slice(0, 300)}`)
      }
    }
    await reportBusy(servers)
    let turns = 0
    const inTurn = async (turn: (server: Server) => Promise<void>) => {
      // another one begins each time: other programs take more of the processors in some minutes than in others
      const first = turns++ % servers.length
      for (const server of [...servers.slice(first), ...servers.slice(0, first)]) {
        const { contender, running, url, payload } = server
        resume(running)
        await load(url, payload, 1, SETTLING_SECONDS)
        await turn(server)
        await untilIdle(running)
        if (contender.neverIdle) pause(running)
      }
    }
    for (let round = 0; round < ROUNDS; round++) {
      await inTurn((server) => measureRound(server, workload))
    }
    const equalLoad = equalLoadOf(servers)
    for (let round = 0; equalLoad && round < ROUNDS; round++) {
      await inTurn((server) => measureEqual(server, workload, equalLoad))
    }
    await inTurn(async (server) => {
      await measureOpen(server, workload)
      server.measured.memoryMb = memoryMb(server.running.child.pid!)
      const { contender, closed } = server.measured
      console.log(
        `  ${contender}: ${closed.map(({ perSecond }) => median(perSecond).toFixed(0)).join(', ')} per second`,
      )
    })
    return servers.map(({ measured }) => measured)
  } finally {
    for (const { running } of servers) {
      resume(running)
      await stop(running)
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
const date = new Date().toISOString().slice(0, 10)
const results: Results = {
  machine: `${cpus().length} cores, ${cpus()[0].model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB`,
  versions: versions(),
  installedMb: installed(),
  workloads: readResults()?.workloads ?? [],
}
for (const workload of WORKLOADS) {
  if (chosen.length > 0 && !chosen.includes(workload.name)) continue
  const contenders = CONTENDERS.filter(({ name }) => name.includes(values.only ?? ''))
  const measured = await measure(workload, contenders)
  const [before, others] = [true, false].map((isSame) =>
    results.workloads.filter((other) => (other.workload.name === workload.name) === isSame),
  )
  // with --only, the others keep their earlier results
  const isNew = new Set(measured.map(({ contender }) => contender))
  const kept = values.only
    ? before.flatMap((one) => one.measured.filter(({ contender }) => !isNew.has(contender)))
    : []
  const order = CONTENDERS.map(({ name }) => name)
  const all = [...kept, ...measured].sort((x, y) => order.indexOf(x.contender) - order.indexOf(y.contender))
  results.workloads = [...others, { workload: { ...workload, date }, measured: all }].sort((x, y) =>
    x.workload.name.localeCompare(y.workload.name),
  )
  writeResults(results)
}
process.exit(0)
