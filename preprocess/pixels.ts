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

/** How a picture is seen, against how it is stored. */
export interface Turn {
  /** what is stored as a row is seen as a column */
  isTransposed: boolean
  /** what is stored first is seen on the right */
  mirrorsX: boolean
  /** what is stored first is seen at the bottom */
  mirrorsY: boolean
}

const UPRIGHT: Turn = { isTransposed: false, mirrorsX: false, mirrorsY: false }

function isUpright({ isTransposed, mirrorsX, mirrorsY }: Turn): boolean {
  return !isTransposed && !mirrorsX && !mirrorsY
}

/** An image that gives its rows one after the other, as they are stored. */
export interface Picture {
  /** as it is seen */
  width: number
  height: number
  /** 1 = grey, 3 = RGB */
  channels: 1 | 3
  turn: Turn
  /**
   * The rows of a box, some at a time, interleaved 8-bit pixels.
   *
   * @param box within the picture as it is stored; the rows are whole ones, but only its columns have to be right
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

/** @param pixels as they are stored */
export function asPicture({ data, channels, ...size }: Pixels, turn = UPRIGHT): Picture {
  const rowBytes = size.width * channels
  return {
    ...turnedSize(size, turn),
    channels,
    turn,
    strips: ({ top, height }) => [data.subarray(top * rowBytes, (top + height) * rowBytes)],
  }
}

interface Size {
  width: number
  height: number
}

/** The size of what is seen from that of what is stored, and the other way round. */
export function turnedSize({ width, height }: Size, { isTransposed }: Turn): Size {
  return isTransposed ? { width: height, height: width } : { width, height }
}

/** The whole picture as a box. */
export function wholeOf({ width, height }: Size): Box {
  return { left: 0, top: 0, width, height }
}

/** Where a box of what is seen is stored. */
function storedBox({ width, height, turn }: Picture, box: Box): Box {
  const left = turn.mirrorsX ? width - box.left - box.width : box.left
  const top = turn.mirrorsY ? height - box.top - box.height : box.top
  const size = turnedSize(box, turn)
  return turn.isTransposed ? { left: top, top: left, ...size } : { left, top, ...size }
}

/** The pixels inside a box that lies within the picture. */
export function crop(picture: Picture, box: Box): Pixels {
  const { channels, turn } = picture
  const { left, top, width, height } = storedBox(picture, box)
  const [rowBytes, outBytes] = [turnedSize(picture, turn).width * channels, width * channels]
  const data = new Uint8Array(outBytes * height)
  let end = 0
  const strips = picture.strips({ left, top, width, height })
  for (const strip of columns(strips, rowBytes, left * channels, outBytes)) {
    data.set(strip, end)
    end += strip.length
  }
  return turned({ data, width, height, channels }, turn)
}

/** So many bytes of each row, from `from` on; the next ones may overwrite them. */
export function* columns(
  strips: Iterable<Uint8Array>,
  rowBytes: number,
  from: number,
  bytes: number,
): Iterable<Uint8Array> {
  if (bytes === rowBytes) return yield* strips
  let memory = new Uint8Array()
  for (const strip of strips) {
    const length = (strip.length / rowBytes) * bytes
    if (memory.length < length) memory = new Uint8Array(length)
    for (let at = from, to = 0; to < length; at += rowBytes, to += bytes)
      memory.set(strip.subarray(at, at + bytes), to)
    yield memory.subarray(0, length)
  }
}

/** Stored pixels in the order in which they are seen. */
export function turned(stored: Pixels, turn: Turn): Pixels {
  if (isUpright(turn)) return stored
  const { isTransposed, mirrorsX, mirrorsY } = turn
  const { channels } = stored
  const { width, height } = turnedSize(stored, turn)
  const data = new Uint8Array(stored.data.length)
  let end = 0
  for (let y = 0; y < height; y++) {
    const down = mirrorsY ? height - 1 - y : y
    for (let x = 0; x < width; x++) {
      const across = mirrorsX ? width - 1 - x : x
      const from = (isTransposed ? across * height + down : down * width + across) * channels
      for (let c = 0; c < channels; c++) data[end++] = stored.data[from + c]
    }
  }
  return { data, width, height, channels }
}
