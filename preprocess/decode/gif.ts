/** Properties of a GIF file's first image that libvips does not report (GIF89a specification, 18 to 23). */
import type { Box } from '../pixels.ts'

const EXTENSION = 0x21
const GRAPHIC_CONTROL = 0xf9
const IMAGE = 0x2c
const HEADER_BYTES = 13

export interface GifHeader {
  /** the part of the canvas that the image covers */
  box: Box
  /** the colour that the file declares transparent */
  transparent?: number[]
  /** of all other pixels of the canvas, and of those that are transparent */
  background: number[]
}

/** @returns undefined for a damaged file, and for one without a palette */
export function readGifHeader(file: Buffer): GifHeader | undefined {
  let palette = paletteAt(file, 10, HEADER_BYTES)
  let transparent: number | undefined
  let at = HEADER_BYTES + palette.length
  while (file[at] === EXTENSION) {
    if (file[at + 1] === GRAPHIC_CONTROL && file[at + 3] & 1) transparent = file[at + 6]
    at += 2
    while (file[at] > 0) at += 1 + file[at]
    at++
  }
  if (file[at] !== IMAGE || at + 10 > file.length) return undefined
  const [left, top, width, height] = [1, 3, 5, 7].map((offset) => file.readUInt16LE(at + offset))
  if (file[at + 9] & 0x80) palette = paletteAt(file, at + 9, at + 10)
  const place = (transparent ?? 0) * 3
  const background = [...palette.subarray(place, place + 3)]
  if (background.length < 3) return undefined
  return {
    box: { left, top, width, height },
    background,
    transparent: transparent === undefined ? undefined : background,
  }
}

/** @param flagsAt offset of the byte that says whether there is a palette, and its size */
function paletteAt(file: Buffer, flagsAt: number, at: number): Buffer {
  const flags = file[flagsAt]
  return file.subarray(at, flags & 0x80 ? at + 3 * 2 ** ((flags & 7) + 1) : at)
}
