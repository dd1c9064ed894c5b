/** 8-bit pixels, and image sources that produce them a few rows at a time. */
import { type Orientation, orientPixels, orientSize, storedBox, UPRIGHT } from './orientation.ts'

/** In pixels. */
export interface Size {
  width: number
  height: number
}

/** A rectangle in pixels. */
export interface Box extends Size {
  left: number
  top: number
}

/** Interleaved 8-bit pixels, row by row: `data.length === width * height * channels`. */
export interface Pixels extends Size {
  data: Uint8Array
  /** 1 = grey, 3 = RGB */
  channels: 1 | 3
}

/** An image whose rows are decoded on demand; width and height are the displayed ones. */
export interface ImageSource extends Size {
  /** 1 = grey, 3 = RGB */
  channels: 1 | 3
  orientation: Orientation
  /**
   * The stored rows of a box, top to bottom, as interleaved 8-bit pixels.
   *
   * @param box in stored coordinates; rows come at their full width, but only the columns of the box are valid
   * @returns chunks of one or more rows; each is valid until the next one is requested
   */
  rowChunks(box: Box): Iterable<Uint8Array>
}

/** Decoded pixels, in stored order, as a source. */
export function sourceOf({ data, channels, ...size }: Pixels, orientation = UPRIGHT): ImageSource {
  const rowBytes = size.width * channels
  return {
    ...orientSize(size, orientation),
    channels,
    orientation,
    rowChunks: ({ top, height }) => [data.subarray(top * rowBytes, (top + height) * rowBytes)],
  }
}

/** The whole image as a box. */
export function fullBox({ width, height }: Size): Box {
  return { left: 0, top: 0, width, height }
}

/** The pixels of a box, which must lie within the displayed image. */
export function crop(source: ImageSource, box: Box): Pixels {
  const { channels, orientation } = source
  const stored = storedBox(source, orientation, box)
  const { left, width, height } = stored
  const rowBytes = orientSize(source, orientation).width * channels
  const chunks = cutColumns(source.rowChunks(stored), rowBytes, left * channels, width * channels)
  const data = collect(chunks, new Uint8Array(width * height * channels))
  return orientPixels({ data, width, height, channels }, orientation)
}

/** Copy chunks one after the other; a source that ends early leaves the rest as it is. */
export function collect(chunks: Iterable<Uint8Array>, to: Uint8Array): Uint8Array {
  let end = 0
  for (const chunk of chunks) {
    to.set(chunk, end)
    end += chunk.length
  }
  return to
}

/** The bytes `from` to `from + bytes` of each row; each chunk is valid until the next one is requested. */
export function* cutColumns(
  chunks: Iterable<Uint8Array>,
  rowBytes: number,
  from: number,
  bytes: number,
): Iterable<Uint8Array> {
  if (bytes === rowBytes) return yield* chunks
  let memory = new Uint8Array()
  for (const chunk of chunks) {
    const length = (chunk.length / rowBytes) * bytes
    if (memory.length < length) memory = new Uint8Array(length)
    for (let at = from, to = 0; to < length; at += rowBytes, to += bytes)
      memory.set(chunk.subarray(at, at + bytes), to)
    yield memory.subarray(0, length)
  }
}
