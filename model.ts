/**
 * The model: a folder, the session that runs its graph in a worker thread, and the queue in front of it.
 */
import { availableParallelism } from 'node:os'
import { type Answer, readAnswer } from './lib/answer.ts'
import { Batcher } from './lib/batcher.ts'
import type { Settings } from './lib/config.ts'
import { messageOf, StartError } from './lib/errors.ts'
import { readModelFolder } from './lib/model_folder.ts'
import { readRecipe } from './lib/preprocessor.ts'
import type { Recipe } from './lib/recipe.ts'
import { type Session, startSession } from './lib/session.ts'
import { allocate, sizeOf, type Tensor, type TensorSpec } from './lib/tensor.ts'

export interface Model {
  name: string
  version: string
  /** the execution provider it runs on */
  device: string
  input: TensorSpec
  /** how an image becomes the input; undefined for a model that takes none */
  recipe: Recipe | undefined
  answer: Answer
  /** most samples in a batch */
  batchSize: number
  /** path of an example image, if the folder has one */
  samplePath: string | undefined
  /**
   * @param input [n, ...] of the input's dtype and dims
   * @returns the output for each sample, [n, classes]
   * @throws RequestError 413, 503 or 400, see `Batcher.predict`
   */
  predict(input: Tensor): Promise<Tensor>
  close(): Promise<void>
}

type ModelSettings = Pick<
  Settings,
  'MODEL_NAME' | 'DEVICE' | 'INFERENCE_THREADS' | 'MAX_BATCH_SIZE' | 'MAX_BATCH_DELAY_MS' | 'MAX_QUEUE'
>

/**
 * Load and warm up the model in a folder.
 *
 * @throws StartError one line: which file, which key, what was expected
 */
export async function loadModel(dir: string, settings: ModelSettings): Promise<Model> {
  const folder = readModelFolder(dir)
  const session = await startSession({
    modelPath: folder.modelPath,
    devices: settings.DEVICE === 'auto' ? ['cuda', 'cpu'] : [settings.DEVICE],
    threads: settings.INFERENCE_THREADS || availableParallelism(),
  })
  try {
    const [input] = session.inputs
    const recipe = readRecipe(folder, channelsOf(input))
    const sampleDims = warmUpDims(input, recipe)
    const fixedBatch = typeof input.dims[0] === 'number' ? input.dims[0] : undefined
    const batchSize = fixedBatch ?? settings.MAX_BATCH_SIZE
    const { output, fastestMs } = await warmUp(
      session,
      sampleDims,
      fixedBatch ? [fixedBatch] : [1, 1, batchSize],
    )
    // for so little work, waking other threads costs more than they do
    if (settings.INFERENCE_THREADS === 0 && fastestMs < 1) await session.useThreads(1)
    const classes = sizeOf(output.dims.slice(1))
    const batcher = new Batcher(session.run, {
      maxBatchSize: batchSize,
      isFixed: fixedBatch !== undefined,
      maxDelayMs: settings.MAX_BATCH_DELAY_MS,
      maxQueue: settings.MAX_QUEUE,
    })
    return {
      name: settings.MODEL_NAME || folder.name,
      version: String(folder.config.version ?? '1'),
      device: session.device,
      input,
      recipe,
      answer: readAnswer(folder.config, classes, folder.configPath),
      batchSize,
      samplePath: folder.samplePath,
      predict: async (tensor) => (await batcher.predict([tensor]))[0],
      close: session.close,
    }
  } catch (error) {
    await session.close()
    throw error
  }
}

/** Size of the channel axis of an image input [n, c, h, w]; undefined where the graph leaves it open. */
function channelsOf({ dims }: TensorSpec): number | undefined {
  return dims.length === 4 && typeof dims[1] === 'number' ? dims[1] : undefined
}

/** The dims of one sample, without the batch axis. */
function warmUpDims(input: TensorSpec, recipe: Recipe | undefined): number[] {
  const size = recipe?.crop ?? (recipe?.resize?.to === 'size' ? recipe.resize : undefined)
  const free = [recipe?.channels ?? 1, size?.height ?? 224, size?.width ?? 224]
  return input.dims.slice(1).map((dim, axis) => (typeof dim === 'number' ? dim : (free[axis] ?? 1)))
}

/**
 * Run the graph on zeros, once per batch size: what would fail on the first request fails at the start, and the
 * runtime's memory is in place.
 */
async function warmUp(session: Session, sampleDims: number[], batchSizes: number[]) {
  const [{ dtype }] = session.inputs
  let output!: Tensor
  let fastestMs = Number.POSITIVE_INFINITY
  for (const batchSize of batchSizes) {
    const dims = [batchSize, ...sampleDims]
    const begun = performance.now()
    try {
      ;[output] = await session.run([{ dtype, dims, data: allocate(dtype, sizeOf(dims)) }])
    } catch (error) {
      throw new StartError(`the model does not run on an input of dims [${dims}]: ${messageOf(error)}`)
    }
    fastestMs = Math.min(fastestMs, performance.now() - begun)
    if (output.dims[0] !== batchSize) {
      throw new StartError(
        `the model answers dims [${output.dims}] to a batch of ${batchSize}: expected [${batchSize},...]`,
      )
    }
  }
  return { output, fastestMs }
}
