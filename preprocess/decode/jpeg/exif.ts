/** The orientation in a JPEG file's Exif data (Exif 2.3, 4.5.2, 4.6.2 and 4.6.4). */
import { requireSupported, UnsupportedImage } from '../unsupported.ts'

const SIGNATURE = 'Exif\0\0'
const TIFF_MAGIC = 42
const ENTRY_BYTES = 12
const ORIENTATION = 0x112
const SHORT = 3

/**
 * @param body of an APP1 segment
 * @returns 1 to 8; undefined if the segment is not Exif
 * @throws UnsupportedImage for Exif data that are damaged or ambiguous
 */
export function readOrientation(body: Buffer): number | undefined {
  if (!body.toString('latin1', 0, SIGNATURE.length).startsWith(SIGNATURE)) return undefined
  const tiff = body.subarray(SIGNATURE.length)
  const order = tiff.toString('latin1', 0, 2)
  const [read16, read32] =
    order === 'II' ? [tiff.readUInt16LE, tiff.readUInt32LE] : [tiff.readUInt16BE, tiff.readUInt32BE]
  try {
    requireSupported((order === 'II' || order === 'MM') && read16.call(tiff, 2) === TIFF_MAGIC)
    const directory = read32.call(tiff, 4)
    const count = read16.call(tiff, directory)
    const entries = Array.from({ length: count }, (_, i) => directory + 2 + i * ENTRY_BYTES)
    const [at, ...others] = entries.filter((entry) => read16.call(tiff, entry) === ORIENTATION)
    if (at === undefined) return 1
    requireSupported(others.length === 0 && at + ENTRY_BYTES <= tiff.length)
    requireSupported(read16.call(tiff, at + 2) === SHORT && read32.call(tiff, at + 4) === 1)
    const orientation = read16.call(tiff, at + 8)
    requireSupported(orientation >= 1 && orientation <= 8)
    return orientation
  } catch {
    throw new UnsupportedImage() // an offset points outside the data
  }
}
