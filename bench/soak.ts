/**
 * Mixed traffic for a long time: npm run bench:soak [-- MINUTES]
 *
 * Tensors, images of all formats and many sizes, and 10 % garbage, from 16 clients. Prints the memory of the server and its
 * decoders of each minute as median and range, since it varies with the requests in flight. At the end, prints the statuses
 * and the growth of the medians after minute 5.
 */
import { setTimeout } from 'node:timers/promises'
import { startServer } from '../test/running_server.ts'
import { printWithLimit } from './limits.ts'
import { multipart, type Payload } from './load.ts'
import { CONTAINER } from './memory.ts'
import { percentile, send } from './open_loop.ts'
import { noiseImage, TENSOR_BYTES, TENSOR_FORM } from './payloads.ts'
import { memoryMb } from './processes.ts'

const MINUTES = Number(process.argv[2] ?? 15)
const CLIENTS = 16

async function payloads(): Promise<{ good: Payload[]; garbage: Payload[] }> {
  const good: Payload[] = []
  for (let i = 0; i < 30; i++) good.push(TENSOR_FORM, TENSOR_BYTES)
  for (const [width, height] of [
    [28, 28],
    [250, 250],
    [640, 480],
    [1200, 900],
    [1024, 3000],
  ]) {
    const image = noiseImage(width, height)
    const files = await Promise.all([
      image.clone().jpeg().toBuffer(),
      image.clone().png().toBuffer(),
      image.clone().webp().toBuffer(),
      image.clone().gif().toBuffer(),
      image.clone().tiff().toBuffer(),
      ...(width < 1000 ? [image.clone().avif({ effort: 0 }).toBuffer()] : []),
    ])
    for (const body of files)
      good.push({ path: '/predict', body }, multipart('/predict', { image: body, other: body }))
  }
  const [file] = good.slice(60)
  const garbage = [
    { path: '/predict', body: Buffer.from('this is no image') },
    { path: '/predict', body: file.body.subarray(0, file.body.length / 2) },
    { path: '/predict?dims=1,28,28', body: Buffer.alloc(17) },
    { path: '/predict', contentType: 'application/json', body: Buffer.from('{"data":[[1,2],[3]]}') },
    {
      path: '/predict',
      contentType: 'multipart/form-data; boundary=x',
      body: Buffer.from('--x\r\nnonsense'),
    },
    { path: '/v2/models/mnist/infer', contentType: 'application/json', body: Buffer.from('{"inputs":[]}') },
    { path: `/predict?dims=${'9'.repeat(500)}`, body: Buffer.alloc(4) },
  ]
  return { good, garbage }
}

const server = await startServer({ env: CONTAINER })
const { good, garbage } = await payloads()
const statuses = new Map<number, number>()
const end = performance.now() + MINUTES * 60_000
const clients = Array.from({ length: CLIENTS }, async () => {
  while (performance.now() < end) {
    const from = Math.random() < 0.1 ? garbage : good
    const { status } = await send(server.url, from[Math.floor(Math.random() * from.length)])
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
  }
})
const medians: number[] = []
for (let minute = 1; minute <= MINUTES; minute++) {
  const memory: number[] = []
  for (let second = 0; second < 60; second++) {
    await setTimeout(1000)
    const { exitCode, signalCode } = server.process
    if (exitCode !== null || signalCode)
      throw new Error(`the server ended with ${signalCode ?? exitCode} in minute ${minute}`)
    memory.push(memoryMb(server.process.pid!))
  }
  server.log.length = 0 // or this process would grow too
  const [low, median, high] = [0, 0.5, 1].map((p) => percentile(memory, p))
  medians.push(median)
  console.log(`minute ${minute}: ${median.toFixed(0)} MB (${low.toFixed(0)}-${high.toFixed(0)})`)
}
await Promise.all(clients)
const counts = [...statuses].sort(([a], [b]) => a - b).map(([status, count]) => `${status}: ${count}`)
const code = await server.stop()
const isFine = [...statuses.keys()].every((status) => status > 0 && status < 500)
printWithLimit(`statuses ${counts.join(', ')}; exit code ${code}`, code === 0 && isFine)
if (MINUTES > 5) {
  const grown = Math.max(...medians.slice(5)) / medians[4] - 1
  printWithLimit(`memory after minute 5: at most ${(100 * grown).toFixed(1)} % more (< 5)`, grown < 0.05)
}
process.exit()
