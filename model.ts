/** The model: a folder, the session that runs its graph in a worker thread, and the batch queue in front of it. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { availableParallelism } from 'node:os'
import { pipeline } from 'node:stream/promises'
import { Batcher } from './lib/inference/batcher.ts'
import { startSession } from './lib/inference/session.ts'
import { checkGraph } from './lib/model/graph.ts'
import { readModelFolder } from './lib/model/model_folder.ts'
import type { Model } from './lib/model/model_info.ts'
import { readOutputSpec } from './lib/model/output_spec.ts'
import { listSamples } from './lib/model/samples.ts'
import { warmUp } from './lib/model/warm_up.ts'
import type { ModelEvents } from './lib/process/main.ts'
import type { Settings } from './lib/process/settings.ts'
import { invalidKey, type JsonFile, readRecipe, sampleDims } from './preprocess/index.ts'

export type { Model }

type ModelSettings = Pick<
  Settings,
  'MODEL_NAME' | 'DEVICE' | 'INFERENCE_THREADS' | 'MAX_BATCH_SIZE' | 'MAX_BATCH_DELAY_MS'
>

/**
 * Load and warm up the model in a folder.
 *
 * @throws StartError or ConfigError, one line: which file, which key, what was expected
 */
export async function loadModel(dir: string, settings: ModelSettings, events: ModelEvents): Promise<Model> {
  const { note, onWorkerExit = () => {}, onWait, onBatch } = events
  const folder = readModelFolder(dir, note)
  const session = await startSession(
    {
      modelPath: folder.modelPath,
      devices: settings.DEVICE === 'auto' ? ['cuda', 'cpu'] : [settings.DEVICE],
      threads: settings.INFERENCE_THREADS || availableParallelism(),
    },
    onWorkerExit,
  )
  try {
    const graph = checkGraph(session)
    const { input } = graph
    const recipe = readRecipe(folder, { input, note })
    const warm = await warmUp(session, graph, sampleDims(input, recipe), settings.MAX_BATCH_SIZE, note)
    const { outputs, batchSize, isFixed } = warm
    // for a small graph, waking other threads takes longer than they save
    if (settings.INFERENCE_THREADS === 0 && warm.isFast) await session.useThreads(1)
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
      outputs,
      recipe,
      outputSpec: readOutputSpec(folder, warm.scores, note),
      batchSize,
      samplePath: folder.samplePath,
      samplePaths: listSamples(dir, note),
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
      async predict(tensor, ctx) {
        const [scores] = await batcher.predict(tensor, [outputs[0].name], ctx)
        return scores
      },
      infer: (tensor, names, ctx) => batcher.predict(tensor, names, ctx),
      close: session.close,
    }
  } catch (error) {
    await session.close()
    throw error
  }
}

/** Not awaited at the start: a large file takes a second. */
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
