/** The first runs of a graph: anything that would fail on the first request fails at startup instead. */
import { messageOf, StartError } from '../inference/errors.ts'
import type { Session } from '../inference/session.ts'
import { convert, type Dtype, sizeOf, type Tensor, type TensorSpec, zeros } from '../inference/tensor.ts'
import type { FirstOutput, Graph } from './graph.ts'

export interface WarmUp {
  /** the outputs with one row per sample, the scores first */
  outputs: TensorSpec[]
  /** one sample takes so little time that waking other threads costs more than they save */
  isFast: boolean
  /** most samples in a batch */
  batchSize: number
  /** batches have exactly this size */
  isFixed: boolean
}

/** A sample of a fast model takes less, in milliseconds. */
const FAST_MS = 1

/**
 * Largest batch of a slow model on a CPU. Larger batches save next to nothing per sample, but take memory,
 * overflow the cache (32 images were up to a tenth slower than 8 with ResNet-50 and MobileNetV3) and delay every sample.
 */
const SLOW_BATCH = 8

/** A loaded graph, and the dims of a sample of its input. */
export interface Runnable {
  session: Session
  graph: Graph
  /** without the batch axis */
  sampleDims: number[]
}

/**
 * Run the graph once, on zeros.
 *
 * @returns the outputs with one row per sample, at least one
 * @throws StartError when the graph does not run, or no output has a batch axis
 */
export async function firstRun({ session, graph, sampleDims }: Runnable): Promise<FirstOutput[]> {
  const { input, outputs, fixedBatch: samples = 1 } = graph
  const shape = [samples, ...sampleDims]
  const results = await run(session, zeros(input.dtype, shape), outputs).catch((error) => {
    throw new StartError(`the model does not run on an input of [${shape}]: ${messageOf(error)}`)
  })
  const runNoise = async (spec: TensorSpec) => (await run(session, noise(input.dtype, shape), [spec]))[0]
  const all = outputs.map((spec, index) => ({
    spec,
    values: results[index],
    runNoise: () => runNoise(spec).catch(() => undefined),
  }))
  const batched = all.filter(({ values }) => values.dims[0] === samples)
  if (batched.length > 0) return batched
  throw new StartError(
    `the model's output for ${samples} samples is [${results[0].dims}], expected [${samples},...]`,
  )
}

/**
 * Run the graph on zeros, alone and in the largest batch, so that the runtime's memory is allocated.
 *
 * A graph with a fixed batch axis gets batches of that size only. So does one that declares its batch axis free but fails
 * on several samples, a common fault of exporters (a constant in a Reshape).
 *
 * @param outputs of `firstRun`, the scores first
 * @param note called with each assumption
 */
export async function warmUp(
  { session, graph, sampleDims }: Runnable,
  outputs: TensorSpec[],
  maxBatchSize: number,
  note: (message: string) => void,
): Promise<WarmUp> {
  const { input, fixedBatch } = graph
  const runZeros = (samples: number, specs: TensorSpec[]) =>
    run(session, zeros(input.dtype, [samples, ...sampleDims]), specs)

  const isFast = (await fastestMs(() => runZeros(fixedBatch ?? 1, outputs.slice(0, 1)))) < FAST_MS
  if (fixedBatch) return { outputs, isFast, batchSize: fixedBatch, isFixed: true }
  const batchSize = session.device === 'cpu' && !isFast ? Math.min(SLOW_BATCH, maxBatchSize) : maxBatchSize
  try {
    const results = await runZeros(batchSize, outputs)
    const isBatched = results.map(({ dims }) => dims[0] === batchSize)
    if (!isBatched[0]) throw new Error(`its output for ${batchSize} samples is [${results[0].dims}]`)
    return { outputs: outputs.filter((_, index) => isBatched[index]), isFast, batchSize, isFixed: false }
  } catch (error) {
    note(`the model fails on a batch of ${batchSize}, so it gets one sample at a time: ${messageOf(error)}`)
    return { outputs, isFast, batchSize: 1, isFixed: true }
  }
}

function run(session: Session, input: Tensor, specs: TensorSpec[]): Promise<Tensor[]> {
  return session.run(
    input,
    specs.map(({ name }) => name),
  )
}

/** Values from -3 to 3, as of a normalized image; for whole numbers levels, 0 to 255. The same each time. */
function noise(dtype: Dtype, dims: readonly number[]): Tensor {
  let state = 1
  const data = Float32Array.from({ length: sizeOf(dims) }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0 // the generator of Numerical Recipes
    return dtype.startsWith('float') ? (state / 2 ** 32) * 6 - 3 : state >>> 24
  })
  return convert({ dtype: 'float32', dims, data }, dtype)
}

/** The fastest of several runs, in milliseconds: the machine may be busy at startup. */
async function fastestMs(run: () => Promise<unknown>): Promise<number> {
  let fastest = Number.POSITIVE_INFINITY
  const endAt = performance.now() + 60
  for (let i = 0; i < 20 && performance.now() < endAt; i++) {
    const startedAt = performance.now()
    await run()
    fastest = Math.min(fastest, performance.now() - startedAt)
  }
  return fastest
}
