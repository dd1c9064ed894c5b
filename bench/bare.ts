/**
 * The speed of the libraries without a server, on this machine: npm run bench:bare
 *
 * ONNX Runtime alone in a loop, for each model of bench/peers.ts, by batch size and threads; images through the decoder
 * alone, and through decoder, resize and normalization. No server can be faster.
 */
import { readFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { concatenateAligned } from '../lib/input/body.ts'
import { readSettings } from '../lib/process/settings.ts'
import { loadRecipe, preprocess, type Recipe } from '../preprocess/index.ts'
import { dimsOf, MODELS } from './servers.ts'
import { WORKLOADS } from './workloads.ts'

process.env.ORT_DISABLE_TELEMETRY = '1'
const { default: ort } = await import('onnxruntime-node')
const SECONDS = 3
const CORES = availableParallelism()

/** Runs of `work` per second. */
async function rate(work: () => Promise<unknown>): Promise<number> {
  await work()
  const startedAt = performance.now()
  let done = 0
  while (performance.now() - startedAt < SECONDS * 1000) {
    await work()
    done++
  }
  return (done / (performance.now() - startedAt)) * 1000
}

for (const name of [...new Set(WORKLOADS.map(({ model }) => model))]) {
  const folder = join(MODELS, name)
  const tensor = readFileSync(join(folder, 'tensor'))
  const dims = dimsOf(name)
  let best = 0
  for (const threads of [1, CORES]) {
    const session = await ort.InferenceSession.create(join(folder, 'model.onnx'), {
      intraOpNumThreads: threads,
    })
    const rates: string[] = []
    for (const batch of [1, 8, 32]) {
      const tensors = Array.from({ length: batch }, () => tensor)
      const data = new Float32Array(concatenateAligned(tensors, batch * tensor.length).buffer)
      const input = { pixel_values: new ort.Tensor('float32', data, [batch, ...dims]) }
      const perSecond = batch * (await rate(() => session.run(input)))
      best = Math.max(best, threads === CORES ? perSecond : CORES * perSecond)
      rates.push(`${perSecond.toFixed(0)} in batches of ${batch}`)
    }
    console.log(`${name}, ${threads} threads: ${rates.join(', ')}`)
    await session.release()
  }

  const file = readFileSync(join(folder, 'image'))
  const { MAX_PIXELS: maxPixels } = readSettings({})
  const recipe = loadRecipe(folder)
  if (!recipe) throw new Error(`${folder} takes no images`)
  const levels: Recipe = { channels: recipe.channels, normalize: [], dtype: 'uint8' }
  const decoded = CORES * (await rate(() => preprocess(file, levels, { maxPixels })))
  const prepared = await rate(() => preprocess(file, recipe, { maxPixels }))
  // decoding and inference share the cores
  const bound = 1 / (1 / best + 1 / (CORES * prepared))
  console.log(
    `${name}, images: decoding alone ${decoded.toFixed(0)} on ${CORES} cores; decoded, resized, normalized ${prepared.toFixed(0)} on one; with inference at most ${bound.toFixed(0)}`,
  )
}
process.exit(0)
