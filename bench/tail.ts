/**
 * The slowest of a hundred requests: npm run bench:tail [-- first one processes memory --rounds N]
 *
 * first: the first 500 requests after the start against later ones, and the processor time of an idle server;
 * one: one connection, one request at a time; processes: WEB_CONCURRENCY=2 against one process;
 * memory: after 5,000 mixed requests. Medians of several rounds; "busy" marks rows that other programs may have
 * disturbed. Needs wrk, and Linux (/proc).
 */
import { readFileSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { parseArgs } from 'node:util'
import { type RunningServer, startServer } from '../test/running_server.ts'
import { load, median, type Payload } from './load.ts'
import { residentMb } from './memory.ts'
import { openLoop, percentile, send, summary } from './open_loop.ts'
import { noiseImage, PNG, TENSOR_BYTES, TENSOR_FORM } from './payloads.ts'
import { cpuSeconds } from './processes.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { rounds: { type: 'string', default: '5' } },
})
const ROUNDS = Number(values.rounds)
const FIRST = 500

const PAYLOADS: Record<string, Payload> = {
  'tensor, form': TENSOR_FORM,
  'tensor, bytes': TENSOR_BYTES,
  PNG,
  'photo of 1 megapixel': { path: '/predict', body: await noiseImage(1200, 900).jpeg().toBuffer() },
}

/** Share of the machine's processor time in use while this program sleeps, 0 to 1. */
async function busyShare(): Promise<number> {
  const read = () => {
    const ticks = readFileSync('/proc/stat', 'utf8').split('\n')[0].split(/\s+/).slice(1, 9).map(Number)
    return { idle: ticks[3] + ticks[4], all: ticks.reduce((a, b) => a + b) }
  }
  const before = read()
  await setTimeout(500)
  const after = read()
  return 1 - (after.idle - before.idle) / (after.all - before.all)
}

/** Print the median and range of each value over several rounds. */
async function row(
  name: string,
  measureRound: () => Promise<Record<string, number>>,
  rounds = ROUNDS,
): Promise<void> {
  const measured: Record<string, number>[] = []
  const busy: number[] = []
  for (let round = 0; round < rounds; round++) {
    busy.push(await busyShare())
    measured.push(await measureRound())
  }
  const columns = Object.keys(measured[0]).map((key) => {
    const each = measured.map((round) => round[key])
    const [low, high] = [Math.min(...each), Math.max(...each)]
    return `${key} ${format(median(each))} (${format(low)} to ${format(high)})`
  })
  const isBusy = median(busy) > 0.1
  const warning = isBusy ? ` - busy: ${Math.round(100 * median(busy))} % of the machine is in use` : ''
  console.log(`${name}: ${columns.join(', ')}${warning}`)
}

function format(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toPrecision(3)
}

async function timesOf(url: string, payload: Payload, count: number): Promise<number[]> {
  const times: number[] = []
  for (let i = 0; i < count; i++) {
    const { status, ms } = await send(url, payload)
    if (status !== 200) throw new Error(`${url} responded with ${status}`)
    times.push(ms)
  }
  return times
}

async function withServer<T>(
  env: Record<string, string>,
  use: (server: RunningServer) => Promise<T>,
): Promise<T> {
  const server = await startServer({ env: { LOG_LEVEL: 'info', ...env } })
  try {
    return await use(server)
  } finally {
    await server.stop()
  }
}

async function first(payload: Payload): Promise<Record<string, number>> {
  const startedAt = performance.now()
  return withServer({}, async ({ url }) => {
    const readyMs = performance.now() - startedAt
    const times = await timesOf(url, payload, FIRST)
    await timesOf(url, payload, 3 * FIRST)
    const warm = percentile(await timesOf(url, payload, 2 * FIRST), 0.99)
    const cold = percentile(times, 0.99)
    return {
      'ready ms': readyMs,
      'first ms': times[0],
      'p99 of 500': cold,
      'warm p99': warm,
      ratio: cold / warm,
    }
  })
}

async function idle(): Promise<Record<string, number>> {
  return withServer({}, async ({ process: { pid } }) => {
    await setTimeout(4000)
    const before = cpuSeconds(pid!)
    await setTimeout(4000)
    return { 'ms of processor time in 4 s': 1000 * (cpuSeconds(pid!) - before) }
  })
}

async function one(server: RunningServer, payload: Payload): Promise<Record<string, number>> {
  const { perSecond, p50Ms, p99Ms, errors } = await load(server.url, payload, 1, 4)
  if (errors) throw new Error(`${errors} requests failed`)
  return { perSecond, 'p50 ms': p50Ms, 'p99 ms': p99Ms, ratio: p99Ms / p50Ms }
}

/** Latency at half of one process's best rate, and at 80 % of each server's own. */
async function processes(servers: RunningServer[], payload: Payload): Promise<Record<string, number>> {
  const best: number[] = []
  for (const { url } of servers) best.push((await load(url, payload, 32, 3)).perSecond)
  const columns: Record<string, number> = { 'best rate of 1': best[0], 'of 2': best[1] }
  for (const [index, { url }] of servers.entries()) {
    for (const [share, perSecond] of [
      ['half load', best[0] / 2],
      ['own 80 %', 0.8 * best[index]],
    ] as const) {
      const { p99Ms, errors } = summary(await openLoop(url, payload, perSecond, 4))
      columns[`${index + 1} at ${share}: p99 ms`] = p99Ms
      columns[`${index + 1} at ${share}: failed`] = errors
    }
  }
  return columns
}

async function memory(): Promise<Record<string, number>> {
  const payloads = Object.values(PAYLOADS)
  return withServer({}, async (server) => {
    let sent = 0
    const client = async () => {
      while (sent < 5000) await send(server.url, payloads[sent++ % payloads.length])
    }
    await Promise.all(Array.from({ length: 8 }, client))
    const after = residentMb(server)
    await setTimeout(10_000)
    return { 'MB after 5,000 requests': after, '10 s later': residentMb(server) }
  })
}

const chosen = (name: string) => positionals.length === 0 || positionals.includes(name)
if (chosen('first')) {
  for (const [name, payload] of Object.entries(PAYLOADS)) {
    await first(payload) // warms up this program
    await row(`first: ${name}`, () => first(payload))
  }
  await row('idle', idle, 1)
}
if (chosen('one')) {
  await withServer({}, async (server) => {
    for (const [name, payload] of Object.entries(PAYLOADS)) {
      await load(server.url, payload, 1, 2)
      await row(`one connection: ${name}`, () => one(server, payload))
    }
  })
}
if (chosen('processes')) {
  await withServer({}, (single) =>
    withServer({ WEB_CONCURRENCY: '2' }, async (double) => {
      for (const name of ['tensor, form', 'tensor, bytes', 'PNG']) {
        const payload = PAYLOADS[name]
        for (const { url } of [single, double]) await load(url, payload, 16, 2)
        await row(`processes: ${name}`, () => processes([single, double], payload))
      }
    }),
  )
}
if (chosen('memory')) await row('memory', memory)
process.exit(0)
