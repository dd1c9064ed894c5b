/** The orientation in a file's metadata: in its Exif data (Exif 2.3, 4.5.2, 4.6.2 and 4.6.4), else in XMP. */
import { requireSupported, UnsupportedImage } from './unsupported.ts'

export const EXIF_SIGNATURE = 'Exif\0\0'
const TIFF_MAGIC = 42
const ENTRY_BYTES = 12
const ORIENTATION = 0x112
const SHORT = 3

/** @param body of a JPEG file's APP1 segment, or the same from another file */
export function isExif(body: Buffer): boolean {
  return body.toString('latin1', 0, EXIF_SIGNATURE.length) === EXIF_SIGNATURE
}

/**
 * @param exif see `isExif`
 * @returns 1 to 8; undefined if there is none
 * @throws UnsupportedImage for data that are damaged or ambiguous
 */
export function exifOrientation(exif: Buffer): number | undefined {
  const tiff = exif.subarray(EXIF_SIGNATURE.length)
  const order = tiff.toString('latin1', 0, 2)
  const [read16, read32] =
    order === 'II' ? [tiff.readUInt16LE, tiff.readUInt32LE] : [tiff.readUInt16BE, tiff.readUInt32BE]
  try {
    requireSupported((order === 'II' || order === 'MM') && read16.call(tiff, 2) === TIFF_MAGIC)
    const directory = read32.call(tiff, 4)
    const count = read16.call(tiff, directory)
    const entries = Array.from({ length: count }, (_, i) => directory + 2 + i * ENTRY_BYTES)
    const [at, ...others] = entries.filter((entry) => read16.call(tiff, entry) === ORIENTATION)
    if (at === undefined) return undefined
    requireSupported(others.length === 0 && at + ENTRY_BYTES <= tiff.length)
    requireSupported(read16.call(tiff, at + 2) === SHORT && read32.call(tiff, at + 4) === 1)
    const orientation = read16.call(tiff, at + 8)
    requireSupported(orientation >= 1 && orientation <= 8)
    return orientation
  } catch {
    throw new UnsupportedImage() // an offset points outside the data
  }
}

/**
 * Pillow's reading of XMP, which counts if there is none in the Exif data (`Image.getexif`).
 *
 * @param xmp anything that may contain it
 * @returns 1 to 8
 */
export function xmpOrientation(xmp: Buffer | undefined): number {
  const [, value] = /tiff:Orientation(?:="|>)([0-9])/.exec(xmp?.toString('latin1') ?? '') ?? []
  return value >= '2' && value <= '8' ? Number(value) : 1
}
