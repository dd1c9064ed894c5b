/**
 * The model: a folder, the session that runs its graph in a worker thread, and the queue in front of it.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { availableParallelism } from 'node:os'
import { pipeline } from 'node:stream/promises'
import { Batcher, type BatcherOptions, type JobTrace } from './lib/inference/batcher.ts'
import type { ModelDescription } from './lib/inference/description.ts'
import { messageOf, StartError } from './lib/inference/errors.ts'
import { type JsonFile, orStartError, readModelFolder, wrongKey } from './lib/inference/model_folder.ts'
import { readAnswer } from './lib/inference/output_spec.ts'
import { type Session, startSession } from './lib/inference/session.ts'
import {
  type AnySpec,
  type AnyTensor,
  DTYPES,
  isDtype,
  type Tensor,
  type TensorSpec,
  zeros,
} from './lib/inference/tensor.ts'
import type { Settings } from './lib/process/settings.ts'
import { type Recipe, readRecipe, sampleDims } from './preprocess/index.ts'

export interface Model extends ModelDescription {
  /** SHA-256 of the graph's file, in hex */
  readonly sha256: Promise<string>
  /** whether the worker that runs it is there; not while it is started again */
  readonly isRunning: boolean
  /** samples that wait for a batch */
  readonly waiting: number
  /** whole seconds until they have been run */
  readonly secondsLeft: number
  /**
   * The first output for one input.
   *
   * @param input [n, ...] of the input's dtype and dims
   * @returns [n, classes]
   * @throws RequestError 400 or 503, or why the interest was lost, see `Batcher.predict`
   */
  predict(input: Tensor, trace: JobTrace): Promise<Tensor>
  /**
   * Any outputs for all inputs.
   *
   * @param inputs one a graph's input, each [n, ...] of its dtype and dims, n the same in all
   * @param outputs names of those that are wanted
   * @returns one a name, each [n, ...]
   * @throws RequestError as `predict`
   */
  infer(inputs: AnyTensor[], outputs: readonly string[], trace: JobTrace): Promise<AnyTensor[]>
  close(): Promise<void>
}

type Warn = (message: string) => void

/** What is told while the model is in use. */
export interface Watcher extends Pick<BatcherOptions, 'onWait' | 'onBatch'> {
  /** what is unusual, and what was assumed */
  warn: Warn
  /** the worker died, and is started again */
  onDeath?: (error: Error) => void
}

type ModelSettings = Pick<
  Settings,
  'MODEL_NAME' | 'DEVICE' | 'INFERENCE_THREADS' | 'MAX_BATCH_SIZE' | 'MAX_BATCH_DELAY_MS'
>

/**
 * Load and warm up the model in a folder.
 *
 * @throws StartError one line: which file, which key, what was expected
 */
export async function loadModel(dir: string, settings: ModelSettings, watcher: Watcher): Promise<Model> {
  const { warn, onDeath = () => {}, onWait, onBatch } = watcher
  const folder = await readModelFolder(dir)
  const devices = settings.DEVICE === 'auto' ? ['cuda', 'cpu'] : [settings.DEVICE]
  const threads = settings.INFERENCE_THREADS || availableParallelism()
  const session = await startSession({ modelPath: folder.modelPath, devices, threads }, onDeath)
  try {
    const { inputs } = session
    const input = firstInput(inputs)
    checkDtypes(session)
    const recipe = isDtype(input.dtype)
      ? orStartError(() => readRecipe(folder, { input, note: warn }))
      : undefined
    const { scores, outputs, isFast, batchSize, isFixed } = await warmUp(session, recipe, settings, warn)
    if (settings.INFERENCE_THREADS === 0 && isFast) await session.useThreads(1)
    const batcher = new Batcher(session.run, {
      maxBatchSize: batchSize,
      isFixed,
      maxDelayMs: settings.MAX_BATCH_DELAY_MS,
      onWait,
      onBatch,
    })
    return {
      name: settings.MODEL_NAME || folder.name,
      version: readVersion(folder.config),
      device: session.device,
      input,
      inputs,
      outputs,
      recipe,
      answer: readAnswer(folder, inputs.length, scores, warn),
      batchSize,
      samplePath: folder.samplePath,
      sha256: sha256(folder.modelPath).catch(() => 'unknown'),
      get isRunning() {
        return session.isRunning
      },
      get waiting() {
        return batcher.waiting
      },
      get secondsLeft() {
        return batcher.secondsLeft
      },
      // the dtype of the first output was checked with the rest of the graph
      async predict(tensor, trace) {
        const [scores] = await batcher.predict([tensor], [outputs[0].name], trace)
        return scores as Tensor
      },
      infer: (tensors, wanted, trace) => batcher.predict(tensors, wanted, trace),
      close: session.close,
    }
  } catch (error) {
    await session.close()
    throw error
  }
}

/** Of a large file it takes a second, which nobody waits for. */
async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

/** A word or a number in config.json, shown to clients. */
function readVersion(config: JsonFile): string {
  const { version = 1 } = config.json
  if (typeof version === 'string' || typeof version === 'number') return String(version)
  throw wrongKey(config, 'version', version, 'a string or a number')
}

/**
 * The input that /predict feeds: an image [n, c, h, w], a row of features [n, f], or one number [n]. What a graph with
 * several inputs takes is its own affair, and its clients', who name them.
 */
function firstInput(inputs: AnySpec[]): TensorSpec {
  const input = inputs[0] as TensorSpec
  const shape = `[${input.dims.map((dim) => dim || '?')}]`
  if (inputs.length === 1 && ![1, 2, 4].includes(input.dims.length)) {
    throw new StartError(
      `the model's input ${input.name} is ${shape}, of rank ${input.dims.length}: expected an image [n,c,h,w], features [n,f] or a number [n]`,
    )
  }
  return input
}

const ANY_DTYPE: readonly string[] = [...DTYPES, 'string']

/** Text is only for graphs with several inputs: what /predict feeds and reads are numbers. */
function checkDtypes({ inputs, outputs }: Session): void {
  const allowed = inputs.length > 1 ? ANY_DTYPE : DTYPES
  const check = (what: string, { name, dtype }: AnySpec) => {
    if (allowed.includes(dtype)) return
    throw new StartError(`the model's ${what} ${name} is of ${dtype}, expected ${allowed.join(', ')}`)
  }
  for (const input of inputs) check('input', input)
  check('output', outputs[0])
}

/** The batch axis of a graph: a number, or undefined where it is free. */
function fixedBatch(inputs: AnySpec[]): number | undefined {
  const sizes = new Set<number>()
  for (const { name, dims } of inputs) {
    const [batch] = dims
    if (batch === undefined || batch === 0) {
      throw new StartError(
        `the model's input ${name} is [${dims}], expected a batch axis first: 1 or more, or a name`,
      )
    }
    if (typeof batch === 'number') sizes.add(batch)
  }
  if (sizes.size <= 1) return [...sizes][0]
  throw new StartError(`the model's inputs have batch axes of ${[...sizes].join(' and ')}, expected one size`)
}

interface WarmUp {
  /** the first output, [n, classes] */
  scores: AnyTensor
  /** those that can be had: tensors that have the samples along axis 0, the first one always */
  outputs: AnySpec[]
  /** so little work that waking other threads for it costs more than they do */
  isFast: boolean
  batchSize: number
  isFixed: boolean
}

/** One sample, at best. */
const FAST_MS = 1

/**
 * Most samples in a batch of a model that is not fast, on a CPU. A batch saves what a run costs besides its samples, and of
 * so many that is next to nothing; larger ones take memory, leave the cache (32 images were up to a tenth slower than 8 in
 * ResNet-50 and MobileNetV3), and keep all that are in them waiting.
 */
const SLOW_BATCH = 8

/**
 * Run the graph on zeros, so that what would fail on the first request fails at the start, and the runtime's memory
 * is in place.
 *
 * A graph whose batch axis is a number takes batches of that size only; so does one that calls it free, but fails on
 * more than one sample (a constant in a reshape is a common fault of exports).
 */
async function warmUp(
  session: Session,
  recipe: Recipe | undefined,
  { MAX_BATCH_SIZE }: ModelSettings,
  warn: Warn,
): Promise<WarmUp> {
  const { inputs } = session
  // the recipe is for the first input
  const samples = inputs.map((input, index) => sampleDims(input, index === 0 ? recipe : undefined))
  const run = (batchSize: number, outputs: AnySpec[]) =>
    session.run(
      inputs.map(({ dtype }, index) => zeros(dtype, [batchSize, ...samples[index]])),
      outputs.map(({ name }) => name),
    )
  let outputs = session.outputs.filter(({ dtype }) => ANY_DTYPE.includes(dtype))
  /** Run everything, and leave out what has no batch axis. */
  const runAll = async (batchSize: number): Promise<AnyTensor> => {
    const results = await run(batchSize, outputs)
    const [{ dims }] = results
    if (dims[0] !== batchSize) {
      throw new StartError(`it answers [${dims}] to ${batchSize} samples, expected [${batchSize},...]`)
    }
    outputs = outputs.filter((_, index) => results[index].dims[0] === batchSize)
    return results[0]
  }

  const batch = fixedBatch(inputs)
  const smallest = batch ?? 1
  const scores = await runAll(smallest).catch((error) => {
    const shapes = samples.map((dims) => `[${[smallest, ...dims]}]`)
    throw new StartError(`the model does not run on an input of ${shapes}: ${messageOf(error)}`)
  })
  let fastestMs = Number.POSITIVE_INFINITY
  // the fastest of several: at the start the machine may be busy with other things
  const end = performance.now() + 60
  for (let i = 0; i < 20 && performance.now() < end; i++) {
    const begun = performance.now()
    await run(smallest, outputs.slice(0, 1))
    fastestMs = Math.min(fastestMs, performance.now() - begun)
  }
  const isFast = fastestMs < FAST_MS
  if (batch) return { scores, outputs, isFast, batchSize: batch, isFixed: true }
  const mostUseful = session.device === 'cpu' && !isFast ? SLOW_BATCH : MAX_BATCH_SIZE
  const batchSize = Math.min(MAX_BATCH_SIZE, mostUseful)
  try {
    await runAll(batchSize)
    return { scores, outputs, isFast, batchSize, isFixed: false }
  } catch (error) {
    warn(`the model fails on a batch of ${batchSize}, so it gets one sample at a time: ${messageOf(error)}`)
    return { scores, outputs, isFast, batchSize: 1, isFixed: true }
  }
}
