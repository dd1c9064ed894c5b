/**
 * The model: a folder, the session that runs its graph in a worker thread, and the queue in front of it.
 */
import { availableParallelism } from 'node:os'
import { readAnswer } from './lib/answer.ts'
import { Batcher } from './lib/batcher.ts'
import type { Settings } from './lib/config.ts'
import type { ModelDescription } from './lib/description.ts'
import { messageOf, StartError } from './lib/errors.ts'
import { readRecipe } from './lib/image_recipe.ts'
import { type JsonFile, readModelFolder, wrongKey } from './lib/model_folder.ts'
import { fixedSize, type Recipe } from './lib/recipe.ts'
import { type Session, startSession } from './lib/session.ts'
import { allocate, DTYPES, isDtype, sizeOf, type Tensor, type TensorSpec } from './lib/tensor.ts'

export interface Model extends ModelDescription {
  /** samples that wait for a batch */
  readonly waiting: number
  /**
   * @param input [n, ...] of the input's dtype and dims
   * @returns the output for each sample, [n, classes]
   * @throws RequestError 413, 503 or 400, see `Batcher.predict`
   */
  predict(input: Tensor): Promise<Tensor>
  close(): Promise<void>
}

type Warn = (message: string) => void

type ModelSettings = Pick<
  Settings,
  'MODEL_NAME' | 'DEVICE' | 'INFERENCE_THREADS' | 'MAX_BATCH_SIZE' | 'MAX_BATCH_DELAY_MS' | 'MAX_QUEUE'
>

/**
 * Load and warm up the model in a folder.
 *
 * @param warn told what is unusual and what was assumed
 * @throws StartError one line: which file, which key, what was expected
 */
export async function loadModel(dir: string, settings: ModelSettings, warn: Warn): Promise<Model> {
  const folder = await readModelFolder(dir)
  const session = await startSession({
    modelPath: folder.modelPath,
    devices: settings.DEVICE === 'auto' ? ['cuda', 'cpu'] : [settings.DEVICE],
    threads: settings.INFERENCE_THREADS || availableParallelism(),
  })
  try {
    const input = onlyInput(session.inputs)
    const [scores] = session.outputs
    if (!isDtype(scores.dtype)) {
      throw new StartError(
        `the model's output ${scores.name} is of ${scores.dtype}, expected ${DTYPES.join(', ')}`,
      )
    }
    const recipe = readRecipe(folder, warn, input)
    const { output, fastestMs, batchSize, isFixed } = await warmUp(
      session,
      input,
      recipe,
      settings.MAX_BATCH_SIZE,
      warn,
    )
    // for so little work, waking other threads costs more than they do
    if (settings.INFERENCE_THREADS === 0 && fastestMs < 1) await session.useThreads(1)
    const batcher = new Batcher(session.run, {
      maxBatchSize: batchSize,
      isFixed,
      maxDelayMs: settings.MAX_BATCH_DELAY_MS,
      maxQueue: settings.MAX_QUEUE,
    })
    return {
      name: settings.MODEL_NAME || folder.name,
      version: readVersion(folder.config),
      device: session.device,
      input,
      recipe,
      answer: readAnswer(folder, output, warn),
      batchSize,
      samplePath: folder.samplePath,
      get waiting() {
        return batcher.waiting
      },
      predict: async (tensor) => (await batcher.predict([tensor]))[0],
      close: session.close,
    }
  } catch (error) {
    await session.close()
    throw error
  }
}

/** A word or a number in config.json, shown to clients. */
function readVersion(config: JsonFile): string {
  const { version = 1 } = config.json
  if (typeof version === 'string' || typeof version === 'number') return String(version)
  throw wrongKey(config, 'version', version, 'a string or a number')
}

/** What is served has one input: an image [n, c, h, w], a row of features [n, f], or one number [n]. */
function onlyInput(inputs: TensorSpec[]): TensorSpec {
  const [input] = inputs
  if (inputs.length !== 1) {
    throw new StartError(
      `the model has ${inputs.length} inputs (${inputs.map(({ name }) => name)}), expected one`,
    )
  }
  if (!isDtype(input.dtype)) {
    throw new StartError(
      `the model's input ${input.name} is of ${input.dtype}, expected ${DTYPES.join(', ')}`,
    )
  }
  if (![1, 2, 4].includes(input.dims.length)) {
    const shape = `[${input.dims.map((dim) => dim || '?')}]`
    throw new StartError(
      `the model's input ${input.name} is ${shape}, of rank ${input.dims.length}: expected an image [n,c,h,w], features [n,f] or a number [n]`,
    )
  }
  return input
}

/** The dims of one sample, without the batch axis: the graph's, and where it leaves them open, the recipe's. */
function sampleDims(input: TensorSpec, recipe: Recipe | undefined): number[] {
  const size = recipe && fixedSize(recipe)
  const open = [recipe?.channels ?? 1, size?.height ?? 224, size?.width ?? 224]
  return input.dims.slice(1).map((dim, axis) => (typeof dim === 'number' ? dim : recipe ? open[axis] : 1))
}

/**
 * Run the graph on zeros, so that what would fail on the first request fails at the start, and the runtime's memory
 * is in place.
 *
 * A graph whose batch axis is a number takes batches of that size only; so does one that calls it free, but fails on
 * more than one sample (a constant in a reshape is a common fault of exports).
 */
async function warmUp(
  session: Session,
  input: TensorSpec,
  recipe: Recipe | undefined,
  maxBatchSize: number,
  warn: Warn,
): Promise<{ output: Tensor; fastestMs: number; batchSize: number; isFixed: boolean }> {
  const sample = sampleDims(input, recipe)
  const run = async (batchSize: number): Promise<Tensor> => {
    const dims = [batchSize, ...sample]
    const [output] = await session.run([
      { dtype: input.dtype, dims, data: allocate(input.dtype, sizeOf(dims)) },
    ])
    if (output.dims[0] === batchSize) return output
    throw new StartError(`it answers [${output.dims}] to ${batchSize} samples, expected [${batchSize},...]`)
  }
  const [batch] = input.dims
  if (batch === 0)
    throw new StartError(
      `the model's input ${input.name} has a batch axis of 0, expected 1 or more, or a name`,
    )
  const smallest = typeof batch === 'number' ? batch : 1
  const output = await run(smallest).catch((error) => {
    throw new StartError(
      `the model does not run on an input of [${[smallest, ...sample]}]: ${messageOf(error)}`,
    )
  })
  let fastestMs = Number.POSITIVE_INFINITY
  for (let i = 0; i < 3; i++) {
    const begun = performance.now()
    await run(smallest)
    fastestMs = Math.min(fastestMs, performance.now() - begun)
    if (fastestMs > 50) break // slow enough to know
  }
  if (typeof batch === 'number') return { output, fastestMs, batchSize: batch, isFixed: true }
  try {
    await run(maxBatchSize)
    return { output, fastestMs, batchSize: maxBatchSize, isFixed: false }
  } catch (error) {
    warn(
      `the model fails on a batch of ${maxBatchSize}, so it gets one sample at a time: ${messageOf(error)}`,
    )
    return { output, fastestMs, batchSize: 1, isFixed: true }
  }
}
