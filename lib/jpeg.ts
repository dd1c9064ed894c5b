/** The frame header of a JPEG file, read without a decoder, which would go through the file's head twice. */
import { toBytes } from './tensor.ts'

/** Baseline, extended and progressive: T.81, table B.1. */
const FRAMES = [0xc0, 0xc1, 0xc2]

/** What may stand before the frame: tables, and from a number on applications' data and comments. */
const TABLES = [0xc4, 0xdb, 0xdd]
const FIRST_NOTE = 0xe0

/** What libvips calls the colours, by the number of components. */
const SPACES: Record<number, string> = { 1: 'b-w', 3: 'srgb', 4: 'cmyk' }

/**
 * @returns size in pixels and colours, as sharp's `metadata()` gives them; undefined for anything unusual
 */
export function readJpegHeader(
  bytes: Uint8Array,
): { width: number; height: number; space: string } | undefined {
  const file = toBytes(bytes)
  // segments: 0xff, what it is, two bytes of length, which count themselves
  for (let at = 2; at + 10 <= file.length && file[at] === 0xff; at += 2 + file.readUInt16BE(at + 2)) {
    const marker = file[at + 1]
    if (FRAMES.includes(marker)) {
      const [precision, height, width] = [file[at + 4], file.readUInt16BE(at + 5), file.readUInt16BE(at + 7)]
      const space = SPACES[file[at + 9]]
      return precision === 8 && width * height > 0 && space ? { width, height, space } : undefined
    }
    if (!TABLES.includes(marker) && !(marker >= FIRST_NOTE && marker < 0xff)) return undefined
  }
}
