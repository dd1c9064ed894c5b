/** The most images in a request. */
import { RequestError } from '../inference/errors.ts'

export const MAX_FILES = 100

/**
 * Call it before the images are decoded or copied: a million of them takes minutes.
 *
 * @throws RequestError 413
 */
export function checkImageCount(count: number): void {
  if (count <= MAX_FILES) return
  throw new RequestError(413, `${count} images are more than ${MAX_FILES}: send them in several requests`)
}
