/** A request's input, and how many images it may have. */
import { RequestError } from '../inference/errors.ts'
import type { Tensor } from '../inference/tensor.ts'

export type Input = { images: Uint8Array[]; tensor?: undefined } | { images?: undefined; tensor: Tensor }

export const MAX_FILES = 100

/**
 * Call it before anything is made of the images: decoding and moving a million of them takes minutes.
 *
 * @throws RequestError 413
 */
export function checkImageCount(count: number): void {
  if (count <= MAX_FILES) return
  throw new RequestError(413, `${count} images are more than ${MAX_FILES}: send them in several requests`)
}
