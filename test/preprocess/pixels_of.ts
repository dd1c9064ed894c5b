import type { ImageSource } from '../../preprocess/decode/image_source.ts'
import type { Box, Pixels } from '../../preprocess/pixels.ts'
import { resize } from '../../preprocess/resample/resize.ts'

/** The pixels of a source, or of a box of it. */
export function pixelsOf(source: ImageSource, box: Box = { left: 0, top: 0, ...source }): Pixels {
  return resize(source, source, { filter: 'nearest', backend: 'pil' }, box)
}
