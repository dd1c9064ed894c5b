/** Pixels, and pictures that have not all of their pixels at once. */

/** Interleaved 8-bit pixels, row by row: `data.length === width * height * channels`. */
export interface Pixels {
  data: Uint8Array
  width: number
  height: number
  /** 1 = grey, 3 = RGB */
  channels: 1 | 3
}

/** A rectangle in pixels. */
export interface Box {
  left: number
  top: number
  width: number
  height: number
}

/** An image that gives its rows from top to bottom. */
export interface Picture {
  width: number
  height: number
  /** 1 = grey, 3 = RGB */
  channels: 1 | 3
  /**
   * The rows of a box, some at a time, interleaved 8-bit pixels.
   *
   * @param box within the picture; the rows are whole ones, but only its columns have to be right
   * @returns rows that the next ones may overwrite
   * @throws NotPlain where that shows only now
   */
  strips(box: Box): Iterable<Uint8Array>
}

/** A file is not what one of our own decoders is for: it is of another kind, or broken. The general one will know. */
export class NotPlain extends Error {}

/** @throws NotPlain if it is not so */
export function mustBePlain(condition: unknown): asserts condition {
  if (!condition) throw new NotPlain()
}

export function asPicture({ data, width, height, channels }: Pixels): Picture {
  const rowBytes = width * channels
  return {
    width,
    height,
    channels,
    strips: ({ top, height }) => [data.subarray(top * rowBytes, (top + height) * rowBytes)],
  }
}

/** The whole picture as a box. */
export function wholeOf({ width, height }: { width: number; height: number }): Box {
  return { left: 0, top: 0, width, height }
}

/** The pixels inside a box that lies within the picture. */
export function crop(picture: Picture, box: Box): Pixels {
  const { width, channels } = picture
  const [rowBytes, outBytes] = [width * channels, box.width * channels]
  const data = new Uint8Array(outBytes * box.height)
  let end = 0
  for (const strip of picture.strips(box)) {
    for (let at = box.left * channels; at < strip.length; at += rowBytes, end += outBytes)
      data.set(strip.subarray(at, at + outBytes), end)
  }
  return { data, width: box.width, height: box.height, channels }
}
