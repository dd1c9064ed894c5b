/**
 * Five times the load that the server can handle: npm run bench:overload [-- SECONDS]
 *
 * For slow models and for photos, with the container's environment: the rate and latency of results, the latency of
 * refusals and of /livez meanwhile, and the memory afterwards.
 */
import { execFileSync } from 'node:child_process'
import { setTimeout } from 'node:timers/promises'
import { startServer } from '../test/running_server.ts'
import { printWithLimit } from './limits.ts'
import type { Payload } from './load.ts'
import { CONTAINER, residentMb } from './memory.ts'
import { closedLoop, type Outcome, openLoop, percentile } from './open_loop.ts'
import { noiseImage } from './payloads.ts'

const SECONDS = Number(process.argv[2] ?? 60)
const MAX_QUEUE = 200

/** Request /livez every 20 ms. @returns a function that stops it, and returns the latencies in milliseconds */
function watchLiveness(url: string): () => number[] {
  const times: number[] = []
  let isOver = false
  void (async () => {
    while (!isOver) {
      const startedAt = performance.now()
      await fetch(`${url}/livez`).then((response) => response.text())
      times.push(performance.now() - startedAt)
      await setTimeout(20)
    }
  })()
  return () => {
    isOver = true
    return times
  }
}

async function overload(name: string, env: Record<string, string>, payload: Payload): Promise<void> {
  // as if on two machines: the server inherits core 0, and the load moves to core 1
  const moveTo = (core: number) => execFileSync('taskset', ['-acp', String(core), String(process.pid)])
  moveTo(0)
  const server = await startServer({ env: { ...CONTAINER, MAX_QUEUE: String(MAX_QUEUE), ...env } })
  moveTo(1)
  const rates: number[] = []
  for (const clients of [4, 16, 64]) {
    const seconds = Math.max(3, SECONDS / 10)
    const answered = await closedLoop(server.url, payload, clients, seconds)
    rates.push(answered.filter(({ status }) => status === 200).length / seconds)
  }
  const best = Math.max(...rates)
  const before = residentMb(server)
  const stopWatching = watchLiveness(server.url)
  const startedAt = performance.now()
  const outcomes = await openLoop(server.url, payload, 5 * best, SECONDS)
  const seconds = (performance.now() - startedAt) / 1000 // until the last response
  const livez = stopWatching()
  const peak = residentMb(server)
  await setTimeout(20_000) // V8 frees memory while idle
  const after = residentMb(server)

  const times = (of: (outcome: Outcome) => boolean) => outcomes.filter(of).map(({ ms }) => ms)
  const good = times(({ status }) => status === 200)
  const refused = times(({ status }) => status === 503)
  const others = outcomes.length - good.length - refused.length
  const goodput = good.length / seconds
  const [answeredMs, refusedMs, livezMs] = [good, refused, livez].map((each) => percentile(each, 0.99))
  const bound = (MAX_QUEUE / best) * 1000 + 100
  console.log(
    `${name}: ${best.toFixed(0)}/s at best (4, 16, 64 clients); then ${(5 * best).toFixed(0)}/s for ${SECONDS} s`,
  )
  printWithLimit(
    `  answered  ${goodput.toFixed(0)}/s, ${(goodput / best).toFixed(2)} of the best (>= 0.90)`,
    goodput >= 0.9 * best,
  )
  printWithLimit(
    `  their p99 ${answeredMs.toFixed(0)} ms (<= ${bound.toFixed(0)}: the queue's wait and 100 ms)`,
    answeredMs <= bound,
  )
  printWithLimit(
    `  refused   ${refused.length}, p99 ${refusedMs.toFixed(0)} ms (<= 50); others: ${others} (0)`,
    refused.length > 0 && refusedMs <= 50 && others === 0,
  )
  printWithLimit(`  /livez    p99 ${livezMs.toFixed(1)} ms of ${livez.length} (< 50)`, livezMs < 50)
  printWithLimit(
    `  memory    ${before.toFixed(0)} MB before, ${peak.toFixed(0)} during, ${after.toFixed(0)} after (<= ${(before * 1.2).toFixed(0)})`,
    after <= before * 1.2,
  )
  await server.stop()
}

const number = Buffer.from(Float32Array.of(5).buffer)
const SLOW = { MODEL_DIR: 'test/fixtures/models/slow' }
await overload('a slow model', SLOW, { path: '/predict?dims=1,1', body: number })
await overload('no batching', { ...SLOW, MAX_BATCH_SIZE: '1' }, { path: '/predict?dims=1,1', body: number })
const photo = await noiseImage(1200, 900).jpeg().toBuffer()
await overload(
  `photos of 1200x900, ${(photo.length / 1e6).toFixed(1)} MB`,
  {},
  { path: '/predict', body: photo },
)
process.exit()
