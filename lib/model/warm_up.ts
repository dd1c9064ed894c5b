/** The first runs of a graph: anything that would fail at the first request fails at the start instead. */
import { messageOf, StartError } from '../inference/errors.ts'
import type { Session } from '../inference/session.ts'
import { type Tensor, type TensorSpec, zeros } from '../inference/tensor.ts'
import type { Graph } from './graph.ts'

export interface WarmUp {
  /** the first output, [n, classes] */
  scores: Tensor
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

/**
 * Run the graph on zeros, alone and in the largest batch, so that the runtime's memory is allocated.
 *
 * A graph with a fixed batch axis gets batches of that size only. So does one that declares its batch axis free but fails
 * on several samples, a common fault of exporters (a constant in a Reshape).
 *
 * @param sampleDims of the input, without the batch axis
 * @param note called with each assumption
 * @throws StartError when the graph does not run, or its first output has no batch axis
 */
export async function warmUp(
  session: Session,
  { input, outputs: declared, fixedBatch }: Graph,
  sampleDims: number[],
  maxBatchSize: number,
  note: (message: string) => void,
): Promise<WarmUp> {
  let outputs = declared
  const run = (samples: number, specs: TensorSpec[]) =>
    session.run(
      zeros(input.dtype, [samples, ...sampleDims]),
      specs.map(({ name }) => name),
    )
  /** Run all outputs, and keep those with one row per sample. */
  const runAll = async (samples: number): Promise<Tensor> => {
    const results = await run(samples, outputs)
    const [{ dims }] = results
    if (dims[0] !== samples) {
      throw new StartError(`its output for ${samples} samples is [${dims}], expected [${samples},...]`)
    }
    outputs = outputs.filter((_, index) => results[index].dims[0] === samples)
    return results[0]
  }

  const smallest = fixedBatch ?? 1
  const scores = await runAll(smallest).catch((error) => {
    const shape = [smallest, ...sampleDims]
    throw new StartError(`the model does not run on an input of [${shape}]: ${messageOf(error)}`)
  })
  const isFast = (await fastestMs(() => run(smallest, outputs.slice(0, 1)))) < FAST_MS
  if (fixedBatch) return { scores, outputs, isFast, batchSize: fixedBatch, isFixed: true }
  const batchSize = session.device === 'cpu' && !isFast ? Math.min(SLOW_BATCH, maxBatchSize) : maxBatchSize
  try {
    await runAll(batchSize)
    return { scores, outputs, isFast, batchSize, isFixed: false }
  } catch (error) {
    note(`the model fails on a batch of ${batchSize}, so it gets one sample at a time: ${messageOf(error)}`)
    return { scores, outputs, isFast, batchSize: 1, isFixed: true }
  }
}

/** The fastest of several runs, in milliseconds: the machine may be busy at the start. */
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
