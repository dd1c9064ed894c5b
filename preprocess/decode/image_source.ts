/** Image sources, which produce their pixels a few rows at a time. */
import { type Orientation, UPRIGHT } from '../orientation.ts'
import type { Box, Pixels, Size } from '../pixels.ts'

/** An image whose rows are decoded on demand; width and height are the displayed ones. */
export interface ImageSource extends Size {
  /** 1 = grey, 3 = RGB */
  channels: 1 | 3
  /** the colour that the file declares transparent, one level per channel */
  transparent?: readonly number[]
  orientation: Orientation
  /**
   * The stored rows of a box, top to bottom, as interleaved 8-bit pixels.
   *
   * @param box in stored coordinates; rows come at their full width, but only the columns of the box are valid
   * @returns chunks of one or more rows; each is valid until the next is requested
   */
  rowChunks(box: Box): Iterable<Uint8Array>
}

/** Decoded pixels, displayed as they are, as a source. */
export function sourceOf({ data, channels, transparent, ...size }: Pixels): ImageSource {
  const rowBytes = size.width * channels
  return {
    ...size,
    channels,
    transparent,
    orientation: UPRIGHT,
    rowChunks: ({ top, height }) => [data.subarray(top * rowBytes, (top + height) * rowBytes)],
  }
}
