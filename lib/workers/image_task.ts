/** Preprocesses one image, in a thread or in a decoder process. */
import {
  encodePng,
  ImageError,
  imageFormat,
  openFast,
  openImage,
  type Pixels,
  type Recipe,
  release,
  toTensor,
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

/** The result; or the reason why another worker must do it, and the file, which was transferred, returned. */
export type ImageOutcome = { result: ImageResult } | { undone: 'large' | 'general'; file: Uint8Array }

/** Larger images are decoded one at a time: several at once would need too much memory. */
export const ORDINARY_PIXELS = 16_000_000

const STATUSES = { unsupported: 415, 'too-large': 413, 'too-complex': 413, broken: 422 }

/**
 * Use our own decoders for common JPEG and PNG files: their time is bounded by the number of pixels. The file's memory is
 * freed, or returned.
 *
 * @throws RequestError 413, 415
 */
function runFast(task: ImageTask): ImageOutcome {
  const { file, recipe, maxPixels } = task
  try {
    const image = openFast(file, recipe, { maxPixels })
    // our JPEG decoder keeps a few rows in memory, whatever the size
    const isLarge = image && image.pixels > ORDINARY_PIXELS && imageFormat(file) !== 'jpeg'
    if (isLarge) return { undone: 'large', file }
    const pixels = image?.toPixels()
    if (!pixels) return { undone: 'general', file }
    const result = finish(pixels, task)
    release(file.buffer as ArrayBuffer)
    return { result }
  } catch (error) {
    throw toRequestError(error)
  }
}

/**
 * Use any decoder.
 *
 * @param isLargeAllowed whether an image of more than ORDINARY_PIXELS is decoded now
 * @returns undefined for an image that is too large to be decoded now
 * @throws RequestError 413, 415 or 422
 */
export async function runGeneral(task: ImageTask, isLargeAllowed: boolean): Promise<ImageResult | undefined> {
  const { file, recipe, maxPixels } = task
  try {
    const image = await openImage(file, recipe, { maxPixels })
    if (image.pixels > ORDINARY_PIXELS && !isLargeAllowed) return undefined
    return finish(await image.toPixels(), task)
  } catch (error) {
    throw toRequestError(error)
  }
}

function finish(pixels: Pixels, { want, recipe, dtype }: ImageTask): ImageResult {
  return want === 'png' ? encodePng(pixels) : convert(toTensor(pixels, recipe), dtype)
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
