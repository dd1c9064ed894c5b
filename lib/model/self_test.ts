/** Tells a broken device from an input that the graph fails on. */
import type { RunBatch } from '../inference/batcher.ts'
import { RequestError, WorkerDied } from '../inference/errors.ts'
import { zeros } from '../inference/tensor.ts'
import type { Runnable } from './warm_up.ts'

/** After a successful test, failures count as the inputs' for so long, in milliseconds. */
const TRUSTED_MS = 1000

/**
 * Run batches; when one fails, run zeros, which succeeded at startup. If they fail, too, such as after an error of a GPU,
 * the session is started again.
 *
 * @returns a function that throws what the session throws, and WorkerDied after such a restart
 */
export function withSelfTest({ session, graph, sampleDims }: Runnable): RunBatch {
  const { input, outputs, fixedBatch = 1 } = graph
  let trustedUntil = 0

  async function isBroken(): Promise<boolean> {
    if (performance.now() < trustedUntil) return false
    try {
      await session.run(zeros(input.dtype, [fixedBatch, ...sampleDims]), [outputs[0].name])
      trustedUntil = performance.now() + TRUSTED_MS
      return false
    } catch (error) {
      return isModelFailure(error)
    }
  }

  return async (batch, names) => {
    try {
      return await session.run(batch, names)
    } catch (error) {
      if (!isModelFailure(error) || !(await isBroken())) throw error
      await session.restart()
      throw new WorkerDied('the model failed on zeros, too')
    }
  }
}

function isModelFailure(error: unknown): boolean {
  return error instanceof RequestError && error.status === 400
}
