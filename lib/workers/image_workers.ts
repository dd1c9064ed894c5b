/** Preprocesses images: common ones in threads, the others in processes that can be killed. */

import type { Recipe } from '../../preprocess/index.ts'
import type { Signal } from '../inference/signal.ts'
import type { Dtype, Tensor } from '../inference/tensor.ts'
import { DecoderProcesses } from './decoder_processes.ts'
import { type ImageOutcome, type ImageResult, type ImageTask, RUN_FAST } from './image_task.ts'
import { ThreadPool } from './thread_pool.ts'

/** How a model's images are preprocessed. */
export interface ImageInput {
  recipe: Recipe
  dtype: Dtype
}

/** Memory for each decoder process, in bytes. */
const PROCESS_BYTES = 400 * 2 ** 20

export class ImageWorkers {
  /** also for other work that must not block the event loop */
  readonly threads: ThreadPool
  readonly #processes: DecoderProcesses
  readonly #maxPixels: number

  /**
   * @param threads most threads, and most decoder processes if memory suffices
   * @param maxPixels most pixels of an image, width x height
   * @param memory for decoder processes, in bytes
   * @param onDone called with the duration of each task in milliseconds
   */
  constructor(threads: number, maxPixels: number, memory: number, onDone?: (ms: number) => void) {
    const processes = Math.min(threads, Math.floor(memory / PROCESS_BYTES))
    this.threads = new ThreadPool(threads, RUN_FAST, onDone)
    this.#processes = new DecoderProcesses(Math.max(1, processes), onDone)
    this.#maxPixels = maxPixels
  }

  /** Images that wait. */
  get waiting(): number {
    return this.threads.waiting + this.#processes.waiting
  }

  /** Estimated seconds until all of them are done. */
  get estimatedWaitSeconds(): number {
    return Math.max(this.threads.estimatedWaitSeconds, this.#processes.estimatedWaitSeconds)
  }

  /**
   * The tensor of an image file, whose memory is transferred.
   *
   * @returns [1, channels, height, width] of the input's dtype
   * @throws RequestError 413, 415, 422, or the signal's reason
   */
  async preprocess(file: Uint8Array, input: ImageInput, signal: Signal): Promise<Tensor> {
    return (await this.#run('tensor', file, input, signal)) as Tensor
  }

  /** The 8-bit pixels before rescaling, as a PNG file; see `preprocess`. */
  async preview(file: Uint8Array, input: ImageInput, signal: Signal): Promise<Uint8Array> {
    return (await this.#run('png', file, input, signal)) as Uint8Array
  }

  async #run(
    want: ImageTask['want'],
    file: Uint8Array,
    { recipe, dtype }: ImageInput,
    signal: Signal,
  ): Promise<ImageResult> {
    const task: ImageTask = { want, file, recipe, dtype, maxPixels: this.#maxPixels }
    const outcome = await this.threads.run<ImageOutcome>(RUN_FAST, task, signal, [file.buffer as ArrayBuffer])
    if ('result' in outcome) return outcome.result
    return this.#processes.run({ ...task, file: outcome.file }, signal, outcome.undone === 'large')
  }

  /** Start the first thread now, so that the first image does not wait for it. */
  start(): Promise<void> {
    return this.threads.start()
  }

  async close(): Promise<void> {
    this.#processes.close()
    await this.threads.close()
  }
}
