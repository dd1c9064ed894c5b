/**
 * Baseline JPEG files, decoded row by row: faster than libvips, and only the blocks that are requested.
 *
 * The pixels are those of libjpeg-turbo with its default settings, and so Pillow's: see jpeg_kernel.as.ts.
 */
import { orientSize } from '../../orientation.ts'
import type { Box } from '../../pixels.ts'
import { Arena } from '../../wasm/arena.ts'
import type { ImageSource } from '../image_source.ts'
import { requireSupported } from '../unsupported.ts'
import { BLOCK_SIDE, createRowPainter, type JpegKernel, type Plane } from './colours.ts'
import { type Component, FIRST_AC, type JpegHeader, readHeader } from './header.ts'

/** Sampling factors of the luma, across x down; those of the chroma must be 1x1. */
const LUMA_FACTORS = ['1x1', '2x1', '2x2']
/** Component ids of a file that is not in YCbCr. */
const RGB_IDS = 'RGB'

/** Upsampling and smoothing read this many pixels on each side. */
const NEIGHBOURS = 2

/**
 * Open a baseline JPEG file: grey, or YCbCr in 4:4:4, 4:2:2 or 4:2:0.
 *
 * @returns its rows; they throw UnsupportedImage where the data prove to be damaged
 * @throws UnsupportedImage for every other kind, and for malformed headers
 */
export function openJpeg(file: Buffer): ImageSource {
  const header = readHeader(file)
  const { frame, orientation } = header
  const [luma, ...chroma] = frame.components
  requireSupported(luma)
  if (chroma.length === 0) {
    requireSupported(luma.across > 0 && luma.across <= 4 && luma.down > 0 && luma.down <= 4)
    // the factors of a single component mean nothing
    Object.assign(luma, { across: 1, down: 1 })
  } else {
    requireSupported(chroma.length === 2)
    requireSupported(String.fromCharCode(...frame.components.map(({ id }) => id)) !== RGB_IDS)
    requireSupported(LUMA_FACTORS.includes(`${luma.across}x${luma.down}`))
    requireSupported(chroma.every(({ across, down }) => across === 1 && down === 1))
    // libjpeg upsamples rows of one or two chroma samples by another rule
    requireSupported(luma.across === 1 || frame.width > 4)
  }
  return {
    ...orientSize(frame, orientation),
    channels: chroma.length === 0 ? 1 : 3,
    orientation,
    rowChunks: (box) => decodeRows(header, box),
  }
}

/** Position in a block of each coefficient in the order of the scan (T.81, figure 5). */
const ZIGZAG = [
  0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7,
  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46,
  53, 60, 61, 54, 47, 55, 62, 63,
]

function* decodeRows(header: JpegHeader, box: Box): Iterable<Uint8Array> {
  const { width, height, components } = header.frame
  const [{ across, down }] = components
  const mcu = { width: across * BLOCK_SIDE, height: down * BLOCK_SIDE }
  const mcus = { across: Math.ceil(width / mcu.width), down: Math.ceil(height / mcu.height) }
  const firstMcu = Math.max(0, Math.floor((box.left - NEIGHBOURS) / mcu.width))
  const endMcu = Math.min(mcus.across, Math.ceil((box.left + box.width + NEIGHBOURS) / mcu.width))
  const left = firstMcu * mcu.width
  const bottom = box.top + box.height

  const arena = new Arena<JpegKernel>('jpeg_kernel')
  try {
    const { kernel } = arena
    beginScan(arena, header, mcus.across * mcus.down)
    const planes = components.map((component) => reservePlane(arena, component, mcus.across))
    const componentsAt = putComponents(arena, header, planes)
    const blockAt = arena.put(new Int16Array(BLOCK_SIDE ** 2))
    const zigzagAt = arena.put(Uint8Array.from(ZIGZAG, (place) => place * 2))
    const columns = { left, width: Math.min(width, endMcu * mcu.width) - left }
    const paintRow = createRowPainter(arena, header.frame, planes, columns)
    const rowBytes = width * planes.length
    const outAt = arena.reserve(rowBytes * (mcu.height + 1))

    // the last row of an MCU needs chroma of the row below it: it is painted with the next MCU
    const delay = down - 1
    for (let mcuRow = 0; mcuRow < mcus.down; mcuRow++) {
      for (const { at, rowBytes, rows } of planes)
        arena.view(at, (rows + 1) * rowBytes).copyWithin(0, rows * rowBytes)
      const top = mcuRow * mcu.height
      const isWanted = top < bottom + NEIGHBOURS && top + mcu.height > box.top - NEIGHBOURS
      const end = isWanted ? endMcu : 0
      const isIntact = kernel.decodeMcuRow(
        componentsAt,
        planes.length,
        mcus.across,
        firstMcu,
        end,
        blockAt,
        zigzagAt,
      )
      requireSupported(isIntact)
      const from = Math.max(box.top, mcuRow === 0 ? 0 : top - delay)
      const to = Math.min(bottom, mcuRow === mcus.down - 1 ? height : top + mcu.height - delay)
      for (let y = from; y < to; y++) paintRow(y, mcuRow, outAt + (y - from) * rowBytes)
      if (from < to) yield arena.view(outAt, (to - from) * rowBytes)
    }
    requireSupported(kernel.bytesLeft() >= 0)
  } finally {
    arena.release()
  }
}

/** A segment's address and length: two i32. */
const SEGMENT_BYTES = 8
/** The kernel leaves at most this much free after a segment. */
const GAP_BYTES = 12
/** What the kernel may read past the data before it notices: an MCU of the longest codes. */
const OVERREAD_BYTES = 2 ** 12

function beginScan(arena: Arena<JpegKernel>, { data, restartInterval }: JpegHeader, mcus: number): void {
  const { kernel } = arena
  const segments = restartInterval > 0 ? Math.ceil(mcus / restartInterval) : 1
  const source = arena.put(data)
  const segmentsAt = arena.reserve(segments * SEGMENT_BYTES)
  const out = arena.reserve(data.length + segments * GAP_BYTES + OVERREAD_BYTES)
  const found = kernel.unstuff(source, source + data.length, segmentsAt, segments, out)
  requireSupported(found === segments)
  kernel.beginScan(segmentsAt, restartInterval)
}

function reservePlane(arena: Arena<JpegKernel>, { across, down }: Component, mcus: number): Plane {
  const rowBytes = mcus * across * BLOCK_SIDE
  const rows = down * BLOCK_SIDE
  return { at: arena.reserve((1 + rows) * rowBytes), rowBytes, rows }
}

/** @returns the address of the components' descriptions, see jpeg_kernel.as.ts */
function putComponents(arena: Arena<JpegKernel>, header: JpegHeader, planes: Plane[]): number {
  const { frame, quantTables, huffmanTables, tableNumbers } = header
  const putHuffmanTable = (number: number) => {
    requireSupported(huffmanTables[number])
    const { counts, symbols } = huffmanTables[number]
    const at = arena.reserve(arena.kernel.TABLE_BYTES.value)
    requireSupported(arena.kernel.buildHuffmanTable(arena.put(counts), arena.put(symbols), at))
    return at
  }
  const descriptions = frame.components.flatMap((component, i) => {
    const inZigzag = quantTables[component.quantTable]
    requireSupported(inZigzag)
    const quants = new Int16Array(BLOCK_SIDE ** 2)
    for (const [k, place] of ZIGZAG.entries()) quants[place] = inZigzag[k]
    const { at, rowBytes } = planes[i]
    const dcTable = putHuffmanTable(tableNumbers[i] >> 4)
    const acTable = putHuffmanTable(FIRST_AC + (tableNumbers[i] & 15))
    const { across, down } = component
    return [dcTable, acTable, arena.put(quants), at + rowBytes, rowBytes, across, down, 0]
  })
  return arena.put(Int32Array.from(descriptions))
}
