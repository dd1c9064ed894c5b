/** The header of a baseline JPEG file: everything before its samples (ITU-T T.81, annex B; JFIF 1.02). */
import { type Orientation, orientationOf } from '../../orientation.ts'
import { requireSupported, UnsupportedImage } from '../unsupported.ts'
import { readOrientation } from './exif.ts'
import { APP0, APP1, APP14, APP15, COM, DHT, DQT, DRI, SOF0, SOF1, SOS, segments } from './segments.ts'

/** Numbers of Huffman tables for AC coefficients begin here; those for DC are 0 to 3. */
export const FIRST_AC = 16
/** Table numbers of each kind are below this. */
const MAX_TABLES = 4
/** A DC symbol is the number of bits of a difference. */
const MAX_DC_SYMBOL = 15

export interface Component {
  id: number
  /** sampling factors: blocks in an MCU, horizontally and vertically */
  across: number
  down: number
  /** number of its quantization table */
  quantTable: number
}

export interface Frame {
  width: number
  height: number
  components: Component[]
}

/** As the file defines it. */
export interface HuffmanTable {
  /** how many codes have 1, 2, ... 16 bits */
  counts: Buffer
  /** in the order of their codes */
  symbols: Buffer
}

/** A file whose samples are all in one scan. */
export interface JpegHeader {
  frame: Frame
  orientation: Orientation
  /** by number: 64 each, in zigzag order */
  quantTables: Buffer[]
  /** by number, those for AC coefficients from FIRST_AC on */
  huffmanTables: HuffmanTable[]
  /** per component: number of its DC table times 16, plus that of its AC table */
  tableNumbers: number[]
  /** MCUs from one restart marker to the next; 0 without restart markers */
  restartInterval: number
  /** the data of the scan, and all that follows */
  data: Buffer
}

/** @throws UnsupportedImage for other kinds of JPEG (progressive, RGB, 12 bits, ...) and malformed headers */
export function readHeader(file: Buffer): JpegHeader {
  const quantTables: Buffer[] = []
  const huffmanTables: HuffmanTable[] = []
  const orientations = new Set<number>()
  let restartInterval = 0
  let frame: Frame | undefined
  let expectedStart = 2
  for (const { marker, body, start, end } of segments(file)) {
    requireSupported(start === expectedStart)
    expectedStart = end
    if (marker === DHT) readHuffmanTables(body, huffmanTables)
    else if (marker === DQT) readQuantTables(body, quantTables)
    else if (marker === DRI) {
      requireSupported(body.length === 2)
      restartInterval = body.readUInt16BE(0)
    } else if (marker === SOF0 || marker === SOF1) {
      requireSupported(!frame)
      frame = readFrame(body)
    } else if (marker === SOS) {
      requireSupported(frame && orientations.size <= 1)
      const tableNumbers = readScan(body, frame.components)
      const [orientation = 1] = orientations
      return {
        frame,
        orientation: orientationOf(orientation),
        quantTables,
        huffmanTables,
        tableNumbers,
        restartInterval,
        data: file.subarray(end),
      }
    } else {
      requireSupported((marker >= APP0 && marker <= APP15) || marker === COM)
      if (marker === APP14) requireSupported(isYcc(body))
      const orientation = marker === APP1 ? readOrientation(body) : undefined
      if (orientation !== undefined) orientations.add(orientation)
    }
  }
  throw new UnsupportedImage()
}

/** Adobe's segment says whether three components are RGB or YCbCr (Adobe Technical Note 5116). */
function isYcc(body: Buffer): boolean {
  return body.toString('latin1', 0, 5) !== 'Adobe' || body[11] === 1
}

function readFrame(body: Buffer): Frame {
  requireSupported(body.length >= 6 && body.length === 6 + body[5] * 3)
  const [precision, height, width] = [body[0], body.readUInt16BE(1), body.readUInt16BE(3)]
  requireSupported(precision === 8 && width * height > 0)
  const components = Array.from({ length: body[5] }, (_, i) => {
    const [id, factors, quantTable] = body.subarray(6 + i * 3)
    return { id, across: factors >> 4, down: factors & 15, quantTable }
  })
  return { width, height, components }
}

function readHuffmanTables(body: Buffer, tables: HuffmanTable[]): void {
  let at = 0
  while (at + 17 <= body.length) {
    const number = body[at]
    requireSupported(number % FIRST_AC < MAX_TABLES && number < 2 * FIRST_AC)
    const counts = body.subarray(at + 1, at + 17)
    const end = at + 17 + counts.reduce((sum, count) => sum + count, 0)
    const symbols = body.subarray(at + 17, end)
    requireSupported(number >= FIRST_AC || symbols.every((symbol) => symbol <= MAX_DC_SYMBOL))
    tables[number] = { counts, symbols }
    at = end
  }
  requireSupported(at === body.length)
}

function readQuantTables(body: Buffer, tables: Buffer[]): void {
  for (let at = 0; at < body.length; at += 65) {
    // in the upper half of the first byte: 0 = 8 bits each, 1 = 16
    requireSupported(body[at] < MAX_TABLES && at + 65 <= body.length)
    const table = body.subarray(at + 1, at + 65)
    requireSupported(!table.includes(0)) // illegal, and libjpeg's result depends on the machine
    tables[body[at]] = table
  }
}

/** The scan must hold all coefficients of all components. @returns the table numbers, see `JpegHeader` */
function readScan(body: Buffer, components: Component[]): number[] {
  const tableNumbers = components.map((_, i) => body[2 + i * 2])
  const selectors = components.flatMap(({ id }, i) => [id, tableNumbers[i]])
  requireSupported(Buffer.from([components.length, ...selectors, 0, 63, 0]).equals(body))
  return tableNumbers
}
