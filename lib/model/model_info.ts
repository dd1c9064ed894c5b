/** A loaded model, as the rest of the server sees it. */
import type { Recipe } from '../../preprocess/index.ts'
import type { BatcherOptions, JobContext } from '../inference/batcher.ts'
import type { Tensor, TensorSpec } from '../inference/tensor.ts'
import type { Extras } from './model_folder.ts'
import type { OutputSpec } from './output_spec.ts'

/** The properties of a loaded model. */
export interface ModelInfo extends Extras {
  name: string
  version: string
  /** `hf://owner/model@commit`, if it is from the Hugging Face Hub */
  source: string | undefined
  /** the execution provider it runs on */
  device: string
  input: TensorSpec
  /** outputs with one row per sample, the scores first */
  outputs: readonly TensorSpec[]
  /** how an image becomes the input; undefined for a model that takes no images */
  recipe: Recipe | undefined
  outputSpec: OutputSpec
  /** assumptions about the folder */
  notes: readonly string[]
  /** most samples in a batch */
  batchSize: number
}

export interface Model extends ModelInfo {
  /** SHA-256 of the graph's file, in hex */
  readonly sha256: Promise<string>
  /** whether its worker is running; false while it is being replaced */
  readonly isRunning: boolean
  /** samples that wait for a batch */
  readonly waiting: number
  /** estimated seconds until all of them have been run */
  readonly estimatedWaitSeconds: number
  /**
   * Run the graph.
   *
   * @param input [n, ...] of the input's dtype and dims
   * @returns its first output, [n, classes]
   * @throws RequestError 400 when the graph fails on this input, 503, or the signal's reason, see `Batcher.predict`
   */
  predict(input: Tensor, ctx: JobContext): Promise<Tensor>
  /**
   * The same for any outputs.
   *
   * @param outputs their names
   * @returns one tensor per name, [n, ...]
   */
  infer(input: Tensor, outputs: readonly string[], ctx: JobContext): Promise<Tensor[]>
  /** `predict` outside the queue and the metrics, for the check of the folder: it runs between two batches. */
  predictUnmetered(input: Tensor): Promise<Tensor>
  close(): Promise<void>
}

export interface ModelEvents extends Pick<BatcherOptions, 'onWait' | 'onBatch'> {
  /** called with each assumption that was made about the folder */
  note: (message: string) => void
  /** called when the inference worker died; it is replaced */
  onWorkerExit?: (error: Error) => void
  /** called when no other could be started; this is tried again */
  onFailedRestart?: (error: Error) => void
}
