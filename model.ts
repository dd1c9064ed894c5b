/** The model: a folder, the session that runs its graph in a worker thread, and the batch queue in front of it. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { resolve, sep } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { Batcher } from './lib/inference/batcher.ts'
import { type SessionOptions, startSession } from './lib/inference/session.ts'
import { Signal } from './lib/inference/signal.ts'
import { checkGraph } from './lib/model/graph.ts'
import { addMetadata, readModelFolder } from './lib/model/model_folder.ts'
import type { Model, ModelEvents } from './lib/model/model_info.ts'
import { readOnnxFile } from './lib/model/onnx/onnx_file.ts'
import { readOutputSpec } from './lib/model/output_spec.ts'
import { withSelfTest } from './lib/model/self_test.ts'
import { firstRun, warmUp } from './lib/model/warm_up.ts'
import { coresPerProcess, type Settings } from './lib/process/settings.ts'
import { invalidKey, type JsonFile, readRecipe, sampleDims } from './preprocess/index.ts'

export type { Model }

/**
 * Load and warm up the model in a folder.
 *
 * @throws StartError or ConfigError, one line: which file, which key, what was expected
 */
export async function loadModel(dir: string, settings: Settings, events: ModelEvents): Promise<Model> {
  const { onWorkerExit = () => {}, onFailedRestart = () => {}, onWait, onBatch } = events
  const notes: string[] = []
  const note = (message: string) => {
    events.note(message)
    notes.push(message.replaceAll(resolve(dir) + sep, '')) // clients need not know where the folder is
  }
  const files = readModelFolder(dir, settings.MODEL_FILE, note)
  const reading = readOnnxFile(files.modelPath) // while the session starts
  reading.catch(() => {}) // ONNX Runtime reports a bad file with a better message
  const session = await startSession(sessionOptions(files.modelPath, settings), onWorkerExit, onFailedRestart)
  try {
    const file = await reading
    const folder = addMetadata(files, file.metadata)
    const graph = checkGraph(session)
    const { input } = graph
    const recipe = readRecipe(folder, { input, note })
    const runnable = { session, graph, sampleDims: sampleDims(input, recipe) }
    const names = session.outputs.map(({ name }) => name)
    const output = await readOutputSpec({ folder, file, names, outputs: await firstRun(runnable) }, note)
    const warm = await warmUp(runnable, output.specs, settings.MAX_BATCH_SIZE, note)
    const { outputs, batchSize, isFixed } = warm
    // for a small graph, waking other threads takes longer than they save
    if (settings.INFERENCE_THREADS === 0 && warm.isFast) await session.useThreads(1)
    const size = { maxBatchSize: batchSize, isFixed }
    const run = withSelfTest(runnable)
    const batcher = new Batcher(run, {
      ...size,
      maxDelayMs: settings.MAX_BATCH_DELAY_MS,
      onWait,
      onBatch,
    })
    // for the comparison with check.json, which must not be among the metrics
    const unmetered = new Batcher(run, { ...size, maxDelayMs: 0 })
    const [{ name: scores }] = outputs
    return {
      name: settings.MODEL_NAME || folder.name,
      version: readVersion(folder.config),
      source: folder.source,
      device: session.device,
      input,
      outputs,
      recipe,
      outputSpec: output.spec,
      notes,
      batchSize,
      ...folder.extras,
      sha256: sha256(folder.modelPath).catch(() => 'unknown'),
      get isRunning() {
        return session.isRunning
      },
      get waiting() {
        return batcher.waiting
      },
      get estimatedWaitSeconds() {
        return batcher.estimatedWaitSeconds
      },
      predict: async (tensor, ctx) => (await batcher.predict(tensor, [scores], ctx))[0],
      infer: (tensor, names, ctx) => batcher.predict(tensor, names, ctx),
      predictUnmetered: async (tensor) => {
        const job = { signal: new Signal(), timings: {} }
        return (await unmetered.predict(tensor, [scores], job))[0]
      },
      close: session.close,
    }
  } catch (error) {
    await session.close()
    throw error
  }
}

function sessionOptions(modelPath: string, settings: Settings): SessionOptions {
  const { DEVICE, INFERENCE_THREADS } = settings
  return {
    modelPath,
    devices: DEVICE === 'auto' ? ['cuda', 'cpu'] : [DEVICE],
    threads: INFERENCE_THREADS || coresPerProcess(settings),
  }
}

/** Not awaited at startup: a large file takes a second. */
async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

/** `version` of config.json, which clients see. */
function readVersion(config: JsonFile): string {
  const { version = 1 } = config.json
  if (typeof version === 'string' || typeof version === 'number') return String(version)
  throw invalidKey(config, 'version', version, 'a string or a number')
}
