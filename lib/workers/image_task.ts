/** Preprocessing one image, as it runs in a thread or in a decoder process. */
import {
  ImageError,
  type ImageTensor,
  preprocess,
  preprocessFast,
  preview,
  previewFast,
  type Recipe,
} from '../../preprocess/index.ts'
import { RequestError } from '../inference/errors.ts'
import { convert, type Dtype, type Tensor } from '../inference/tensor.ts'
import { threadFunction } from './thread_pool.ts'

export interface ImageTask {
  /** the tensor, or the 8-bit pixels before rescaling as a PNG file */
  want: 'tensor' | 'png'
  /** the image file's bytes */
  file: Uint8Array
  recipe: Recipe
  /** of the tensor */
  dtype: Dtype
  /** most pixels, width x height */
  maxPixels: number
}

export type ImageResult = Tensor | Uint8Array

/** The result, or why another worker has to do it, with the file, which was transferred. */
export type ImageOutcome = { result: ImageResult } | { undone: 'large' | 'general'; file: Uint8Array }

/** Larger images are decoded one at a time: together they would need too much memory. */
export const ORDINARY_PIXELS = 16_000_000

const STATUSES = { unsupported: 415, 'too-large': 413, 'too-complex': 413, broken: 422 }

/**
 * With our own decoders of common JPEG and PNG files: their time is bounded by the number of pixels.
 *
 * @throws RequestError 413, 415
 */
export function runFast({ want, file, recipe, dtype, maxPixels }: ImageTask): ImageOutcome {
  const limits = { maxPixels: Math.min(maxPixels, ORDINARY_PIXELS) }
  try {
    const result = (want === 'tensor' ? preprocessFast : previewFast)(file, recipe, limits)
    return result === 'large' || result === 'general'
      ? { undone: result, file }
      : { result: finish(result, dtype) }
  } catch (error) {
    throw toRequestError(error)
  }
}

/**
 * With any decoder.
 *
 * @param isLargeAllowed whether an image of more than ORDINARY_PIXELS is decoded now
 * @returns undefined for an image that is too large to be decoded now, but not too large for `maxPixels`
 * @throws RequestError 413, 415 or 422
 */
export async function runGeneral(task: ImageTask, isLargeAllowed: boolean): Promise<ImageResult | undefined> {
  const { want, file, recipe, dtype, maxPixels } = task
  const limits = { maxPixels: isLargeAllowed ? maxPixels : Math.min(maxPixels, ORDINARY_PIXELS) }
  try {
    return finish(await (want === 'tensor' ? preprocess : preview)(file, recipe, limits), dtype)
  } catch (error) {
    const pixels = error instanceof ImageError ? error.pixels : undefined
    if (isLargeAllowed || pixels === undefined) throw toRequestError(error)
    // too large in any case: refuse it now, naming the operator's limit
    return pixels > maxPixels ? runGeneral(task, true) : undefined
  }
}

function finish(result: ImageTensor | Uint8Array, dtype: Dtype): ImageResult {
  return result instanceof Uint8Array ? result : convert(result, dtype)
}

function toRequestError(error: unknown): unknown {
  return error instanceof ImageError ? new RequestError(STATUSES[error.code], error.message) : error
}

/** The memory of an image's result, to transfer it. */
export function memoryOf(result: ImageResult): Uint8Array | Tensor['data'] {
  return result instanceof Uint8Array ? result : result.data
}

export const runFastInThread = threadFunction(runFast, (outcome) => [
  'result' in outcome ? memoryOf(outcome.result) : outcome.file,
])
export const RUN_FAST = { file: import.meta.filename, name: 'runFastInThread' }
