/**
 * Baseline JPEG files, decoded row by row: faster than libvips, and only the blocks that are requested.
 *
 * The pixels are those of libjpeg-turbo with its default settings, and so Pillow's: see jpeg_kernel.as.ts.
 */
import { orientSize } from '../../orientation.ts'
import type { Box } from '../../pixels.ts'
import { Arena, type Kernel } from '../../wasm/arena.ts'
import type { ImageSource } from '../image_source.ts'
import { requireSupported } from '../unsupported.ts'
import { type Component, type JpegHeader, readHeader } from './header.ts'

type JpegKernel = Kernel<
  'beginScan' | 'buildHuffmanTable' | 'decodeMcuRow' | 'endScan' | 'upsample' | 'yccToRgb'
> & { TABLE_BYTES: { value: number } }

/** Samples along a side of a block. */
const BLOCK_SIDE = 8
/** Upsampling and smoothing read this many pixels on each side. */
const NEIGHBOURS = 2
/** How far the kernel may read past the data before it notices: an MCU of the longest codes. */
const OVERREAD_BYTES = 2 ** 12

/**
 * Open a JPEG file.
 *
 * @returns its rows; reading them throws UnsupportedImage if the data are damaged
 * @throws UnsupportedImage, see `readHeader`
 */
export function openJpeg(file: Buffer): ImageSource {
  const header = readHeader(file)
  const { components, orientation } = header
  const { width, height } = orientSize(header, orientation)
  return {
    width,
    height,
    channels: components.length === 1 ? 1 : 3,
    orientation,
    rowChunks: (box) => decodeRows(header, box),
  }
}

function* decodeRows(header: JpegHeader, box: Box): Iterable<Uint8Array> {
  const { width, height, components, data, restartInterval } = header
  const [{ across, down }] = components
  const mcu = { width: across * BLOCK_SIDE, height: down * BLOCK_SIDE }
  const mcusAcross = Math.ceil(width / mcu.width)
  const firstMcu = Math.max(0, Math.floor((box.left - NEIGHBOURS) / mcu.width))
  const endMcu = Math.min(mcusAcross, Math.ceil((box.left + box.width + NEIGHBOURS) / mcu.width))
  const left = firstMcu * mcu.width
  const bottom = box.top + box.height

  const arena = new Arena<JpegKernel>('jpeg_kernel')
  try {
    const { kernel } = arena
    const dataAt = arena.put(data)
    const segmentAt = arena.reserve(data.length + OVERREAD_BYTES)
    requireSupported(kernel.beginScan(dataAt, dataAt + data.length, segmentAt, restartInterval))
    const planes = components.map((component) => reservePlane(arena, component, mcusAcross))
    const componentsAt = arena.put(
      Int32Array.from(components.flatMap((component, i) => describe(arena, component, planes[i]))),
    )
    const paintRow = rowPainter(arena, header, planes, left, Math.min(width, endMcu * mcu.width) - left)
    const rowBytes = width * planes.length
    const outAt = arena.reserve(rowBytes * (mcu.height + 1))

    // the last row of an MCU needs chroma of the row below it: it is painted with the next MCU
    const delay = down - 1
    for (let mcuRow = 0, top = 0; top < height; mcuRow++, top += mcu.height) {
      for (const { at, rowBytes, rows } of planes)
        arena.view(at, (rows + 1) * rowBytes).copyWithin(0, rows * rowBytes)
      const isWanted = top < bottom + NEIGHBOURS && top + mcu.height > box.top - NEIGHBOURS
      const end = isWanted ? endMcu : 0
      requireSupported(kernel.decodeMcuRow(componentsAt, planes.length, mcusAcross, firstMcu, end))
      const from = Math.max(box.top, mcuRow === 0 ? 0 : top - delay)
      const to = Math.min(bottom, top + mcu.height >= height ? height : top + mcu.height - delay)
      for (let y = from; y < to; y++) paintRow(y, mcuRow, outAt + (y - from) * rowBytes)
      if (from < to) yield arena.view(outAt, (to - from) * rowBytes)
    }
    requireSupported(kernel.endScan())
  } finally {
    arena.release()
  }
}

/** Decoded rows of a component in the kernel's memory: the last one of the MCU row above, and those of this one. */
interface Plane {
  at: number
  rowBytes: number
  /** of an MCU */
  rows: number
}

function reservePlane(arena: Arena<JpegKernel>, { across, down }: Component, mcus: number): Plane {
  const rowBytes = mcus * across * BLOCK_SIDE
  const rows = down * BLOCK_SIDE
  return { at: arena.reserve((1 + rows) * rowBytes), rowBytes, rows }
}

/** What `decodeMcuRow` needs to know of a component. */
function describe(arena: Arena<JpegKernel>, component: Component, { at, rowBytes }: Plane): number[] {
  const { across, down, quants, dcTable, acTable } = component
  const [dcAt, acAt] = [dcTable, acTable].map((definition) => {
    const tableAt = arena.reserve(arena.kernel.TABLE_BYTES.value)
    requireSupported(arena.kernel.buildHuffmanTable(arena.put(definition), tableAt))
    return tableAt
  })
  return [dcAt, acAt, arena.put(quants), at + rowBytes, rowBytes, across, down, 0]
}

/** @param out address of an image row; the pixels are written at their columns */
type RowPainter = (y: number, mcuRow: number, out: number) => void

/**
 * Convert the columns `left` to `left + width` of rows of samples to grey or RGB: libjpeg's upsampling and colours.
 *
 * @param left where an MCU begins
 */
function rowPainter(
  arena: Arena<JpegKernel>,
  { height, components }: JpegHeader,
  planes: Plane[],
  left: number,
  width: number,
): RowPainter {
  const { kernel } = arena
  const [{ across, down }] = components
  const rowAt = ({ at, rowBytes, rows }: Plane, y: number, mcuRow: number) =>
    at + (1 + y - mcuRow * rows) * rowBytes
  const [luma, cb, cr] = planes
  if (!cb)
    return (y, mcuRow, out) =>
      arena.view(out + left, width).set(arena.view(rowAt(luma, y, mcuRow) + left, width))

  const samples = Math.ceil(width / across)
  const sumsAt = arena.reserve((samples + 2) * 2)
  const [cbAt, crAt] = [arena.reserve(samples * 2), arena.reserve(samples * 2)]
  const lastRow = Math.ceil(height / down) - 1
  const [even, odd] = down === 1 ? [7, 8] : [8, 7]
  const upsample = (plane: Plane, y: number, mcuRow: number, out: number) => {
    const near = Math.floor(y / down)
    const far = down === 1 ? near : Math.min(Math.max(near + (y % 2 === 0 ? -1 : 1), 0), lastRow)
    const nearAt = rowAt(plane, near, mcuRow) + left / across
    if (across === 1) return nearAt
    const farAt = rowAt(plane, far, mcuRow) + left / across
    kernel.upsample(nearAt, farAt, samples, even, odd, sumsAt, out)
    return out
  }
  return (y, mcuRow, out) => {
    const blueAt = upsample(cb, y, mcuRow, cbAt)
    const redAt = upsample(cr, y, mcuRow, crAt)
    kernel.yccToRgb(rowAt(luma, y, mcuRow) + left, blueAt, redAt, width, out + left * 3)
  }
}
