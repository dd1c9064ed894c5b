/**
 * Measures this server on this machine: npm run bench [-- start memory ceiling livez]
 *
 * Start-up time, memory, the rate of the multipart tensor against the same route with a constant response, and the
 * latency of /livez while photos are classified.
 */
import { cpus } from 'node:os'
import sharp from 'sharp'
import { startServer } from '../test/running_server.ts'
import { load, median } from './load.ts'
import { CONTAINER, residentMb } from './memory.ts'
import { percentile } from './open_loop.ts'
import { TENSOR_FORM } from './payloads.ts'

const ROUNDS = 12

function range(values: number[], digits = 0): string {
  const [low, high] = [Math.min(...values), Math.max(...values)]
  return `${median(values).toFixed(digits)} (${low.toFixed(digits)} to ${high.toFixed(digits)})`
}

async function startUp(): Promise<void> {
  const times: number[] = []
  for (let i = 0; i < 10; i++) {
    const startedAt = performance.now()
    const server = await startServer()
    await fetch(`${server.url}/readyz`)
    times.push(performance.now() - startedAt)
    await server.stop()
  }
  console.log(`start to the first 200 on /readyz: ${range(times)} ms, median of ${times.length}`)
}

async function memory(name: string, env: Record<string, string>): Promise<void> {
  const server = await startServer({ env })
  const idle = residentMb(server)
  let requests = 0
  while (requests < 10_000) {
    const { perSecond } = await load(server.url, TENSOR_FORM, 64, 2)
    requests += perSecond * 2
  }
  const used = `${residentMb(server).toFixed(0)} MB after ${Math.round(requests)} tensor requests`
  console.log(`resident memory, ${name}: ${idle.toFixed(0)} MB idle, ${used} from 64 connections`)
  await server.stop()
}

async function ceiling(): Promise<void> {
  const ours = await startServer()
  const constant = await startServer({ args: ['bench/constant_server.js'] })
  const rates: { ours: number[]; constant: number[] } = { ours: [], constant: [] }
  for (let round = -1; round < ROUNDS; round++) {
    for (const [name, { url }] of [
      ['ours', ours],
      ['constant', constant],
    ] as const) {
      const { perSecond, errors } = await load(url, TENSOR_FORM, 64, 2)
      if (errors > 0) throw new Error(`${name}: ${errors} errors`)
      if (round >= 0) rates[name].push(perSecond) // the first round warms up
    }
  }
  const ratios = rates.ours.map((rate, round) => rate / rates.constant[round])
  console.log(`/predict, multipart tensor, 64 connections: ${range(rates.ours)} requests/s`)
  console.log(
    `the same with a constant response: ${range(rates.constant)} requests/s; ratio ${range(ratios, 2)}`,
  )
  await ours.stop()
  constant.process.kill('SIGKILL')
}

async function livezUnderPhotos(): Promise<void> {
  const server = await startServer({ env: { MAX_UPLOAD_MB: '100' } })
  const noise = {
    create: {
      width: 500,
      height: 375,
      channels: 3,
      background: '#888',
      noise: { type: 'gaussian', mean: 128, sigma: 60 },
    },
  } as const
  const photo = await sharp(await sharp(noise).png().toBuffer())
    .resize(4000, 3000)
    .jpeg({ quality: 85 })
    .toBuffer()
  const form = new FormData()
  for (let i = 0; i < 8; i++) form.append('image', new Blob([new Uint8Array(photo)]))
  const times: number[] = []
  let isDone = false
  const startedAt = performance.now()
  const classified = fetch(`${server.url}/predict`, { method: 'POST', body: form }).then(async (response) => {
    isDone = true
    if (!response.ok) throw new Error(await response.text())
  })
  while (!isDone) {
    const sent = performance.now()
    await (await fetch(`${server.url}/livez`)).text()
    times.push(performance.now() - sent)
  }
  await classified
  const total = `${((performance.now() - startedAt) / 1000).toFixed(1)} s`
  console.log(
    `/livez while 8 photos of 12 megapixels are classified (${total}): p50 ${median(times).toFixed(1)} ms, ` +
      `p99 ${percentile(times, 0.99).toFixed(1)} ms, of ${times.length}`,
  )
  await server.stop()
}

const SECTIONS: Record<string, () => Promise<void>> = {
  start: startUp,
  memory: async () => {
    await memory('default', {})
    await memory("with the container's flags", CONTAINER)
  },
  ceiling,
  livez: livezUnderPhotos,
}

console.log(`Node ${process.version}, ${cpus().length} cores, ${cpus()[0].model}`)
const chosen = process.argv.slice(2)
for (const [name, measure] of Object.entries(SECTIONS)) {
  if (chosen.length === 0 || chosen.includes(name)) await measure()
}
