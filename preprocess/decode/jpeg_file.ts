/**
 * What stands in a JPEG file before its samples.
 *
 * Source: ITU-T T.81, JFIF 1.02, Exif 2.3.
 */

import { mustBePlain, NotPlain, type Turn } from '../pixels.ts'

// markers: T.81, table B.1
const HUFFMAN = 0xc4
const SCAN = 0xda
const QUANTISERS = 0xdb
const RESTARTS = 0xdd
/** the first and the last of applications' data */
const NOTES = [0xe0, 0xef]
const COMMENT = 0xfe
const EXIF = 0xe1
const ADOBE = 0xee
const BASELINE = 0xc0
const EXTENDED = 0xc1
const PROGRESSIVE = 0xc2

/** What libvips calls the colours, by the number of components. */
const SPACES: Record<number, string> = { 1: 'b-w', 3: 'srgb', 4: 'cmyk' }

// Exif 2.3, 4.5.2, 4.6.2 and 4.6.4
const TIFF = 42
const ORIENTATION = 0x112
const SHORT = 3

/** Number of the first Huffman code for AC coefficients. */
export const FIRST_AC = 16

/** Of each kind there can be so many. */
const TABLES = 4

export interface Component {
  name: number
  /** samples of it in an MCU, divided by 8 */
  across: number
  down: number
  /** the number of its table */
  quantisers: number
}

export interface Frame {
  width: number
  height: number
  components: Component[]
}

/** A Huffman code, as the file has it. */
export interface Code {
  /** how many words have 1, 2, ... 16 bits */
  counts: Buffer
  /** what they mean, in their order */
  symbols: Buffer
}

/** A file with one scan, in which all samples are. */
export interface Jpeg {
  frame: Frame
  turn: Turn
  /** by their numbers: 64 each, in the order of the scan */
  quantisers: Buffer[]
  /** by their numbers, those for AC coefficients from FIRST_AC on */
  codes: Code[]
  /** of each component: the number of its code for DC times 16, plus that for AC */
  codeNumbers: number[]
  /** MCUs from one restart marker to the next; 0 if there are none */
  restarts: number
  /** the scan's data, and all that follows */
  data: Buffer
}

interface Segment {
  marker: number
  body: Buffer
  /** where the next one starts */
  end: number
}

/** The segments up to the first scan, as far as they are in order. */
function* segmentsOf(file: Buffer): Iterable<Segment> {
  for (let at = 2; at + 4 <= file.length && file[at] === 0xff; ) {
    const marker = file[at + 1]
    const end = at + 2 + file.readUInt16BE(at + 2)
    if (end > file.length || end < at + 4) return
    yield { marker, body: file.subarray(at + 4, end), end }
    if (marker === SCAN) return
    at = end
  }
}

/**
 * The frame's header alone, without a decoder, which would go through the head of the file twice.
 *
 * @returns size in pixels and colours, as sharp's `metadata()` gives them; undefined for anything unusual
 */
export function readJpegHeader(file: Buffer): { width: number; height: number; space: string } | undefined {
  for (const { marker, body } of segmentsOf(file)) {
    if (marker === BASELINE || marker === EXTENDED || marker === PROGRESSIVE) {
      const frame = readFrame(body)
      const space = SPACES[frame?.components.length ?? 0]
      return frame && space ? { width: frame.width, height: frame.height, space } : undefined
    }
    if (![HUFFMAN, QUANTISERS, RESTARTS].includes(marker) && !isNote(marker)) return undefined
  }
}

/** @throws NotPlain for a progressive file, one in RGB, and one that is not in order */
export function readJpeg(file: Buffer): Jpeg {
  const quantisers: Buffer[] = []
  const codes: Code[] = []
  const orientations: number[] = []
  let restarts = 0
  let frame: Frame | undefined
  for (const { marker, body, end } of segmentsOf(file)) {
    switch (marker) {
      case HUFFMAN:
        readCodes(body, codes)
        break
      case QUANTISERS:
        readQuantisers(body, quantisers)
        break
      case RESTARTS:
        mustBePlain(body.length === 2)
        restarts = body.readUInt16BE(0)
        break
      case EXIF:
        if (body.toString('latin1', 0, 6) === 'Exif\0\0') orientations.push(readOrientation(body.subarray(6)))
        break
      case ADOBE:
        mustBePlain(isYcc(body))
        break
      case BASELINE:
      case EXTENDED:
        mustBePlain(!frame)
        frame = readFrame(body)
        mustBePlain(frame)
        break
      case SCAN: {
        mustBePlain(frame)
        const codeNumbers = readScan(body, frame.components)
        const turn = readTurn(orientations)
        return { frame, turn, quantisers, codes, codeNumbers, restarts, data: file.subarray(end) }
      }
      default:
        mustBePlain(isNote(marker))
    }
  }
  throw new NotPlain()
}

function isNote(marker: number): boolean {
  return (marker >= NOTES[0] && marker <= NOTES[1]) || marker === COMMENT
}

/** @returns undefined for a frame that is not of 8 bits a sample, or whose height is not known yet */
function readFrame(body: Buffer): Frame | undefined {
  if (body.length < 6 || body.length !== 6 + body[5] * 3) return undefined
  const [precision, height, width] = [body[0], body.readUInt16BE(1), body.readUInt16BE(3)]
  const components = Array.from({ length: body[5] }, (_, i) => {
    const [name, factors, quantisers] = body.subarray(6 + i * 3)
    return { name, across: factors >> 4, down: factors & 15, quantisers }
  })
  return precision === 8 && width * height > 0 ? { width, height, components } : undefined
}

function readCodes(body: Buffer, codes: Code[]): void {
  let at = 0
  while (at + 17 <= body.length) {
    mustBePlain(body[at] % FIRST_AC < TABLES && body[at] < 2 * FIRST_AC)
    const counts = body.subarray(at + 1, at + 17)
    const end = at + 17 + counts.reduce((sum, count) => sum + count, 0)
    const symbols = body.subarray(at + 17, end)
    // in a code for DC a symbol is only a number of bits
    mustBePlain(body[at] >= FIRST_AC || symbols.every((symbol) => symbol < 16))
    codes[body[at]] = { counts, symbols }
    at = end
  }
  mustBePlain(at === body.length)
}

function readQuantisers(body: Buffer, quantisers: Buffer[]): void {
  for (let at = 0; at < body.length; at += 65) {
    // more than a number where they have 16 bits
    mustBePlain(body[at] < TABLES && at + 65 <= body.length)
    quantisers[body[at]] = body.subarray(at + 1, at + 65)
  }
}

/** @returns the numbers of the codes of all components, of which, and of all of whose coefficients, the scan must be */
function readScan(body: Buffer, components: Component[]): number[] {
  const codeNumbers = components.map((_, i) => body[2 + i * 2])
  const names = components.flatMap(({ name }, i) => [name, codeNumbers[i]])
  mustBePlain(Buffer.from([components.length, ...names, 0, 63, 0]).equals(body))
  return codeNumbers
}

/** @returns 1 where Exif data tell none */
function readOrientation(tiff: Buffer): number {
  const order = tiff.toString('latin1', 0, 2)
  const [read16, read32] =
    order === 'II' ? [tiff.readUInt16LE, tiff.readUInt32LE] : [tiff.readUInt16BE, tiff.readUInt32BE]
  try {
    mustBePlain((order === 'II' || order === 'MM') && read16.call(tiff, 2) === TIFF)
    const directory = read32.call(tiff, 4)
    const entries = Array.from({ length: read16.call(tiff, directory) }, (_, i) => directory + 2 + i * 12)
    const [at, ...others] = entries.filter((at) => read16.call(tiff, at) === ORIENTATION)
    if (at === undefined) return 1
    mustBePlain(others.length === 0 && at + 12 <= tiff.length)
    mustBePlain(read16.call(tiff, at + 2) === SHORT && read32.call(tiff, at + 4) === 1)
    return read16.call(tiff, at + 8)
  } catch {
    throw new NotPlain() // something lies outside
  }
}

/** What an orientation means: where what is stored as the first row and as the first column is seen. */
function readTurn(orientations: number[]): Turn {
  const [orientation = 1, ...others] = orientations
  mustBePlain(orientation >= 1 && orientation <= 8 && others.every((other) => other === orientation))
  return {
    isTransposed: orientation > 4,
    mirrorsX: [2, 3, 6, 7].includes(orientation),
    mirrorsY: [3, 4, 7, 8].includes(orientation),
  }
}

/** What Adobe's programs note of colours. */
function isYcc(body: Buffer): boolean {
  return body.toString('latin1', 0, 5) !== 'Adobe' || body[11] === 1
}
