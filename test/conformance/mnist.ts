/**
 * Compares the server's results for all 10,000 MNIST test digits with PyTorch's.
 *
 *   python3 test/conformance/mnist_scores.py FOLDER SCORES && node test/conformance/mnist.js FOLDER SCORES
 *
 * Digits are sent one by one, in batches of random size, and as PNG files, each from 64 connections.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { gunzipSync } from 'node:zlib'
import sharp from 'sharp'
import { startServer } from '../running_server.ts'

const CONNECTIONS = 64
const [folder, scoresFile] = process.argv.slice(2)
const images = gunzipSync(readFileSync(join(folder, 't10k-images-idx3-ubyte.gz'))).subarray(16)
const scores = new Float32Array(new Uint8Array(readFileSync(scoresFile)).buffer)
const count = images.length / 784

interface Result {
  label: string
  predictions: { label: string; score: number }[]
}

function digits(from: number, n: number): Float32Array<ArrayBuffer> {
  const mean = Math.fround(0.1307)
  const std = Math.fround(0.3081)
  return Float32Array.from(images.subarray(from * 784, (from + n) * 784), (v) =>
    Math.fround(Math.fround(Math.fround(v / 255) - mean) / std),
  )
}

function tensorForm(from: number, n: number): FormData {
  const form = new FormData()
  form.set('metadata', JSON.stringify({ dims: [n, 1, 28, 28] }))
  form.set('data', new Blob([digits(from, n)]))
  return form
}

async function pngForm(from: number): Promise<FormData> {
  const raw = { width: 28, height: 28, channels: 1 } as const
  const png = await sharp(images.subarray(from * 784, (from + 1) * 784), { raw })
    .toColourspace('b-w')
    .png()
    .toBuffer()
  const form = new FormData()
  form.set('image', new Blob([new Uint8Array(png)]))
  return form
}

const server = await startServer({ env: { MAX_QUEUE: '10000' } })

/** Send every digit once, in portions, and report the differences. */
async function compare(
  title: string,
  portion: () => number,
  makeForm: (from: number, n: number) => FormData | Promise<FormData>,
) {
  let next = 0
  let wrong = 0
  let largest = 0
  const client = async () => {
    while (next < count) {
      const from = next
      const n = Math.min(portion(), count - from)
      next += n
      const body = await makeForm(from, n)
      const response = await fetch(`${server.url}/predict?top_k=10`, { method: 'POST', body })
      if (!response.ok) throw new Error(await response.text())
      const results = [await response.json()].flat() as Result[]
      if (results.length !== n) throw new Error(`${results.length} results for ${n} digits`)
      results.forEach(({ label, predictions }, i) => {
        const truth = scores.subarray((from + i) * 10, (from + i + 1) * 10)
        if (Number(label) !== truth.indexOf(Math.max(...truth))) wrong++
        for (const { label, score } of predictions) {
          largest = Math.max(largest, Math.abs(score - truth[Number(label)]))
        }
      })
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, client))
  console.log(
    `${title}: ${count} digits, ${wrong} labels differ, largest difference of a score ${largest.toExponential(1)}`,
  )
  if (wrong > 0 || largest > 1e-5) process.exitCode = 1
}

await compare('one by one', () => 1, tensorForm)
await compare('in batches of 1 to 100', () => 1 + Math.floor(Math.random() * 100), tensorForm)
await compare('as PNG files', () => 1, pngForm)
await server.stop()
