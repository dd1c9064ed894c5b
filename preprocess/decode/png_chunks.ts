/** The chunks of a PNG file (RFC 2083, section 3). */
import { crc32 } from 'node:zlib'
import { requireSupported, UnsupportedImage } from './unsupported.ts'

const SIGNATURE_BYTES = 8
/** before a chunk's body: its length and its name; after it: the checksum */
const HEAD_BYTES = 8
const TAIL_BYTES = 4

/** Chunks that change what is displayed: orientation, animation. */
const UNSUPPORTED = ['eXIf', 'acTL']
const PALETTE = 3
/** Text chunks, compressed or not, which libpng unpacks and keeps: 100 chunks of 8 kB can take 4 GB. */
const TEXT = ['tEXt', 'zTXt', 'iTXt']

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

/** The same file without its text. */
export function withoutText(file: Buffer): Buffer {
  const kept: Buffer[] = []
  let from = 0
  for (const { name, start, end } of chunksOf(file)) {
    if (!TEXT.includes(name)) continue
    kept.push(file.subarray(from, start))
    from = end
  }
  return from === 0 ? file : Buffer.concat([...kept, file.subarray(from)])
}
