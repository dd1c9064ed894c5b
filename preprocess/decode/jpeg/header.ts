/** The header of a JPEG file that our decoder supports: everything before its samples (ITU-T T.81, annex B; JFIF 1.02). */
import { type Orientation, orientationOf } from '../../orientation.ts'
import { exifOrientation, isExif, xmpOrientation } from '../metadata.ts'
import { requireSupported, UnsupportedImage } from '../unsupported.ts'
import { APP0, APP1, APP14, APP15, COM, DHT, DQT, DRI, SOF0, SOF1, SOS, segments } from './segments.ts'

/** Numbers of Huffman tables for AC coefficients begin here; those for DC are 0 to 3. */
const FIRST_AC = 16
/** Table numbers of each kind are below this. */
const MAX_TABLES = 4
/** A DC symbol is the number of bits of a difference. */
const MAX_DC_SYMBOL = 15
/** Sampling factors of the luma, across x down; those of the chroma must be 1x1. */
const LUMA_FACTORS = ['1x1', '2x1', '2x2']
/** Component ids of a file that is not in YCbCr. */
const RGB_IDS = 'RGB'

export interface Component {
  /** sampling factors: blocks in an MCU, horizontally and vertically */
  across: number
  down: number
  /** 64 quantizers, in zigzag order */
  quants: Buffer
  /** Huffman tables: how many codes have 1, 2, ... 16 bits, then their symbols */
  dcTable: Buffer
  acTable: Buffer
}

/** A baseline file of one scan: grey, or YCbCr in 4:4:4, 4:2:2 or 4:2:0. */
export interface JpegHeader {
  /** as stored */
  width: number
  height: number
  components: Component[]
  orientation: Orientation
  /** MCUs from one restart marker to the next; 0 without restart markers */
  restartInterval: number
  /** the data of the scan, and all that follows */
  data: Buffer
}

/** @throws UnsupportedImage for other kinds of JPEG (progressive, RGB, 12 bits, ...) and malformed headers */
export function readHeader(file: Buffer): JpegHeader {
  const quantTables: Buffer[] = []
  const huffmanTables: Buffer[] = []
  const orientations = new Set<number>()
  let restartInterval = 0
  let frame: Buffer | undefined
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
      frame = body
    } else if (marker === SOS) {
      requireSupported(frame && orientations.size <= 1)
      const [orientation = 1] = orientations
      const data = file.subarray(end)
      const { width, height } = readSize(frame)
      const components = readComponents(frame, body, quantTables, huffmanTables)
      return {
        width,
        height,
        components,
        orientation: orientationOf(orientation),
        restartInterval,
        data,
      }
    } else {
      requireSupported((marker >= APP0 && marker <= APP15) || marker === COM)
      if (marker === APP14) requireSupported(isYcc(body))
      if (marker !== APP1) continue
      if (isExif(body)) orientations.add(exifOrientation(body) ?? 1)
      else requireSupported(xmpOrientation(body) === 1)
    }
  }
  throw new UnsupportedImage()
}

/** Adobe's segment says whether three components are RGB or YCbCr (Adobe Technical Note 5116). */
function isYcc(body: Buffer): boolean {
  return body.toString('latin1', 0, 5) !== 'Adobe' || body[11] === 1
}

function readHuffmanTables(body: Buffer, tables: Buffer[]): void {
  let at = 0
  while (at + 17 <= body.length) {
    const number = body[at]
    requireSupported(number % FIRST_AC < MAX_TABLES && number < 2 * FIRST_AC)
    const symbolsAt = at + 17
    const end = body.subarray(at + 1, symbolsAt).reduce((sum, count) => sum + count, symbolsAt)
    const symbols = body.subarray(symbolsAt, end)
    requireSupported(number >= FIRST_AC || symbols.every((symbol) => symbol <= MAX_DC_SYMBOL))
    tables[number] = body.subarray(at + 1, end)
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

function readSize(frame: Buffer): { width: number; height: number } {
  requireSupported(frame.length >= 6 && frame.length === 6 + frame[5] * 3)
  const [precision, height, width] = [frame[0], frame.readUInt16BE(1), frame.readUInt16BE(3)]
  requireSupported(precision === 8 && width * height > 0)
  return { width, height }
}

/** The components of a frame with the tables that the scan assigns to them. The scan must hold all of them entirely. */
function readComponents(
  frame: Buffer,
  scan: Buffer,
  quantTables: Buffer[],
  huffmanTables: Buffer[],
): Component[] {
  const { width } = readSize(frame)
  const ids = Array.from({ length: frame[5] }, (_, i) => frame[6 + i * 3])
  const selectors = ids.flatMap((id, i) => [id, scan[2 + i * 2]])
  requireSupported(Buffer.from([ids.length, ...selectors, 0, 63, 0]).equals(scan))
  const components = ids.map((_, i) => {
    const [, factors, quantTable] = frame.subarray(6 + i * 3)
    const tables = scan[2 + i * 2]
    const dcTable = huffmanTables[tables >> 4]
    const acTable = huffmanTables[FIRST_AC + (tables & 15)]
    const quants = quantTables[quantTable]
    requireSupported(quants && dcTable && acTable)
    return { across: factors >> 4, down: factors & 15, quants, dcTable, acTable }
  })
  const [luma, ...chroma] = components
  requireSupported(luma && (chroma.length === 0 || chroma.length === 2))
  if (chroma.length === 0) {
    requireSupported(luma.across > 0 && luma.across <= 4 && luma.down > 0 && luma.down <= 4)
    return [{ ...luma, across: 1, down: 1 }] // the factors of a single component have no meaning
  }
  requireSupported(String.fromCharCode(...ids) !== RGB_IDS)
  requireSupported(LUMA_FACTORS.includes(`${luma.across}x${luma.down}`))
  requireSupported(chroma.every(({ across, down }) => across === 1 && down === 1))
  // libjpeg upsamples rows of one or two chroma samples by another rule
  requireSupported(luma.across === 1 || width > 4)
  return components
}
