/** The chunks of a PNG file (RFC 2083, section 3). */
import { crc32, inflateSync } from 'node:zlib'
import { EXIF_SIGNATURE, exifOrientation, isExif, xmpOrientation } from './metadata.ts'
import { requireSupported, UnsupportedImage } from './unsupported.ts'

const SIGNATURE_BYTES = 8
/** before a chunk's body: its length and its name; after it: the checksum */
const HEAD_BYTES = 8
const TAIL_BYTES = 4

const EXIF = 'eXIf'
/** Chunks that change what is displayed: orientation, animation. */
const UNSUPPORTED = [EXIF, 'acTL']
const PALETTE = 3
/** Text chunks, compressed or not, which libpng unpacks and keeps: 100 chunks of 8 kB can take 4 GB. */
const TEXT = ['tEXt', 'zTXt', 'iTXt']
/** Keywords of Exif data as text, from before there was a chunk for them (ImageMagick writes it), and of XMP. */
const EXIF_TEXT = 'Raw profile type exif\0'
const XMP_TEXT = 'XML:com.adobe.xmp\0'
/** of unpacked text, as in Pillow */
const MAX_TEXT = 2 ** 20

export interface PngFile {
  header: Buffer
  palette: Buffer | undefined
  /** compressed, in pieces */
  data: Buffer[]
}

interface Chunk {
  name: string
  body: Buffer
  /** offsets of the chunk, from its length to its checksum */
  start: number
  end: number
}

/** All chunks up to IEND, or to a truncated one. */
function* chunksOf(file: Buffer): Iterable<Chunk> {
  for (let start = SIGNATURE_BYTES; start + HEAD_BYTES + TAIL_BYTES <= file.length; ) {
    const bodyAt = start + HEAD_BYTES
    const bodyEnd = bodyAt + file.readUInt32BE(start)
    const end = bodyEnd + TAIL_BYTES
    if (end > file.length) return
    const name = file.toString('latin1', start + 4, bodyAt)
    yield { name, body: file.subarray(bodyAt, bodyEnd), start, end }
    if (name === 'IEND') return
    start = end
  }
}

/** @throws UnsupportedImage for a truncated or damaged file, and for chunks that change the pixels in other ways */
export function readChunks(file: Buffer): PngFile {
  let header: Buffer | undefined
  let palette: Buffer | undefined
  const data: Buffer[] = []
  for (const { name, body, start, end } of chunksOf(file)) {
    requireSupported(
      crc32(file.subarray(start + 4, end - TAIL_BYTES)) === file.readUInt32BE(end - TAIL_BYTES),
    )
    requireSupported(!UNSUPPORTED.includes(name))
    requireSupported(!isText(name, body, EXIF_TEXT))
    if (isText(name, body, XMP_TEXT)) requireSupported(xmpOrientation(unpack(name, body, XMP_TEXT)) === 1)
    if (name === 'IEND') {
      requireSupported(header)
      return { header, palette, data }
    }
    if (name === 'IHDR' && body.length === 13) header = body
    else if (name === 'PLTE') {
      requireSupported(data.length === 0) // illegal after the data
      palette = body
    } else if (name === 'IDAT') data.push(body)
    else requireSupported(name[0] >= 'a') // lower case: may be ignored
  }
  throw new UnsupportedImage()
}

/**
 * The one colour that a file declares transparent, as Pillow's `convert("RGB")` keeps it.
 *
 * @returns undefined if there is none, also for a palette of several transparent or half transparent colours
 */
export function transparentColour(file: Buffer): readonly number[] | undefined {
  const find = (wanted: string) => {
    for (const { name, body } of chunksOf(file)) if (name === wanted) return body
    return undefined
  }
  const body = find('tRNS')
  const [header, palette] = body ? [find('IHDR'), find('PLTE')] : []
  if (!header || !body) return undefined
  const [depth, colourType] = header.subarray(8)
  if (colourType === PALETTE) {
    const index = body.indexOf(0)
    const isAlone = index >= 0 && body.every((alpha, i) => alpha === (i === index ? 0 : 255))
    return isAlone ? palette?.subarray(index * 3, index * 3 + 3).toJSON().data : undefined
  }
  const levels = Array.from({ length: body.length >> 1 }, (_, i) => body.readUInt16BE(i * 2))
  if (depth === 1) return levels.map((level) => (level ? 255 : 0))
  return depth === 16 ? undefined : levels
}

/** @param keyword with the zero at its end */
function isText(name: string, body: Buffer, keyword: string): boolean {
  return TEXT.includes(name) && body.toString('latin1', 0, keyword.length) === keyword
}

/**
 * The orientation that Pillow applies: that of the Exif chunk, wherever it is, else of Exif data as text, else of XMP
 * (`Image.getexif`).
 *
 * @returns 1 to 8; 1 also where the data are damaged
 */
export function pngOrientation(file: Buffer): number {
  let exif: Buffer | undefined
  let text: Buffer | undefined
  let xmp: Buffer | undefined
  for (const { name, body } of chunksOf(file)) {
    if (name === EXIF) exif = Buffer.concat([Buffer.from(EXIF_SIGNATURE), body])
    else if (isText(name, body, EXIF_TEXT)) text = exifFromText(unpack(name, body, EXIF_TEXT))
    else if (isText(name, body, XMP_TEXT)) xmp = unpack(name, body, XMP_TEXT)
  }
  try {
    const data = exif ?? text
    return (data && exifOrientation(data)) ?? xmpOrientation(xmp)
  } catch {
    return 1
  }
}

/** @param text a line break, two lines, then hexadecimal digits */
function exifFromText(text: Buffer): Buffer {
  const digits = text.toString('latin1').split('\n').slice(3).join('').replace(/\s/g, '')
  const data = Buffer.from(digits, 'hex')
  return isExif(data) ? data : Buffer.concat([Buffer.from(EXIF_SIGNATURE), data])
}

/** The text of a chunk (RFC 2083, 4.2.3; PNG 1.2, 4.2.3.3); empty if it cannot be unpacked. */
function unpack(name: string, body: Buffer, keyword: string): Buffer {
  const value = body.subarray(keyword.length)
  const inflate = (data: Buffer) => {
    try {
      return inflateSync(data, { maxOutputLength: MAX_TEXT })
    } catch {
      return Buffer.alloc(0)
    }
  }
  if (name === 'tEXt') return value
  if (name === 'zTXt') return inflate(value.subarray(1)) // after the method, 0
  // after the language and the translated keyword
  const text = value.subarray(value.indexOf(0, value.indexOf(0, 2) + 1) + 1)
  return value[0] ? inflate(text) : text
}

/** The same file without its text and its Exif data: see `pngOrientation`. */
export function withoutMetadata(file: Buffer): Buffer {
  const kept: Buffer[] = []
  let from = 0
  for (const { name, start, end } of chunksOf(file)) {
    if (name !== EXIF && !TEXT.includes(name)) continue
    kept.push(file.subarray(from, start))
    from = end
  }
  return from === 0 ? file : Buffer.concat([...kept, file.subarray(from)])
}
