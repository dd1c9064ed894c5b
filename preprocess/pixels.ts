/** 8-bit pixels. */

/** Sizes in pixels. */
export interface Size {
  width: number
  height: number
}

export interface Box extends Size {
  left: number
  top: number
}

/** Interleaved 8-bit pixels, row by row: `data.length === width * height * channels`. */
export interface Pixels extends Size {
  data: Uint8Array
  /** 1 = grey, 3 = RGB */
  channels: 1 | 3
  /** the colour that the file declares transparent, one level per channel */
  transparent?: readonly number[]
}

/** Copy chunks one after the other. */
export function collect(chunks: Iterable<Uint8Array>, to: Uint8Array): Uint8Array {
  let end = 0
  for (const chunk of chunks) {
    to.set(chunk, end)
    end += chunk.length
  }
  return to
}
