/** A request's input: its type, its limits, and how text becomes one. */
import { constants } from 'node:buffer'
import { RequestError } from '../inference/errors.ts'
import type { Tensor, TensorSpec } from '../inference/tensor.ts'
import type { ScoreFunction } from '../model/output_spec.ts'
import type { ThreadFunction } from '../workers/thread_pool.ts'

/** Options of a request, which override the settings and the model's own. */
export interface ResultOptions {
  /** predictions per input, at least 1 */
  topK?: number
  scoreFunction?: ScoreFunction
}

export type Input = (
  | { images: Uint8Array[]; tensor?: undefined }
  | { images?: undefined; tensor: Tensor }
) & {
  options?: ResultOptions
  /** sent as TF Serving's columns, `{"inputs":...}`, which are answered with the graph's outputs */
  isColumnFormat?: boolean
}

export const MAX_FILES = 100

/**
 * Call this before using the images: decoding and moving a million of them takes minutes.
 *
 * @throws RequestError 413
 */
export function checkImageCount(count: number): void {
  if (count <= MAX_FILES) return
  throw new RequestError(
    413,
    `${count} images in one request; the limit is ${MAX_FILES}: send several requests`,
  )
}

/** Longer text, in bytes, is parsed in a thread: it can take a second. */
export const LONG_TEXT = 2 ** 16

/** @throws RequestError 413 for more bytes than a string can have */
export function checkTextSize(bytes: number): void {
  if (bytes <= constants.MAX_STRING_LENGTH) return
  const limit = Math.floor(constants.MAX_STRING_LENGTH / 2 ** 20)
  throw new RequestError(413, `text may have at most ${limit} MB: send the tensor as bytes, with dims`)
}

/** Parses a body of one text format. */
export interface TextReader {
  read(task: { body: Uint8Array; spec: TensorSpec }): Input
  inThread: ThreadFunction
}

/** The memory of an input, to transfer it between threads. */
export function memoryOf(input: Input): ArrayBufferView[] {
  return input.images ?? [input.tensor.data]
}
