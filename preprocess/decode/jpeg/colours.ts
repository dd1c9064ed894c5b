/** From rows of luma and chroma samples to rows of RGB: libjpeg's upsampling and colour conversion. */
import type { Arena, Kernel } from '../../wasm/arena.ts'
import type { Frame } from './header.ts'

/** Arguments are addresses, and sizes in bytes or samples: see jpeg_kernel.as.ts. */
export interface JpegKernel extends Kernel {
  TABLE_BYTES: { value: number }
  unstuff(source: number, end: number, segments: number, maxSegments: number, out: number): number
  buildHuffmanTable(counts: number, symbols: number, out: number): number
  beginScan(segments: number, restartInterval: number): void
  bytesLeft(): number
  decodeMcuRow(
    components: number,
    count: number,
    mcus: number,
    from: number,
    to: number,
    block: number,
    zigzag: number,
  ): number
  blendRows(near: number, far: number, width: number, out: number): void
  copyRow(row: number, width: number, out: number): void
  doubleWidth(row: number, width: number, even: number, odd: number, shift: number, out: number): void
  yccToRgb(y: number, cb: number, cr: number, width: number, out: number): void
}

/** Samples along a side of a block. */
export const BLOCK_SIDE = 8

/** Decoded rows of a component in the kernel's memory: the last one of the MCU row above, and those of this one. */
export interface Plane {
  at: number
  rowBytes: number
  /** of an MCU */
  rows: number
}

/** @param out address of an image row; the pixels are written at their columns */
export type RowPainter = (y: number, mcuRow: number, out: number) => void

/** @param columns that are wanted; `left` is where an MCU begins */
export function createRowPainter(
  arena: Arena<JpegKernel>,
  { height, components }: Frame,
  planes: Plane[],
  columns: { left: number; width: number },
): RowPainter {
  const { kernel } = arena
  const { left, width } = columns
  const [{ across, down }] = components
  const rowAt = ({ at, rowBytes, rows }: Plane, y: number, mcuRow: number) =>
    at + (1 + y - mcuRow * rows) * rowBytes
  const [luma, ...chroma] = planes
  if (chroma.length === 0)
    return (y, mcuRow, out) =>
      arena.view(out + left, width).set(arena.view(rowAt(luma, y, mcuRow) + left, width))

  if (across === 1)
    return (y, mcuRow, out) => {
      const [lumaAt, cbAt, crAt] = planes.map((plane) => rowAt(plane, y, mcuRow) + left)
      kernel.yccToRgb(lumaAt, cbAt, crAt, width, out + left * 3)
    }

  const samples = Math.ceil(width / across)
  const sumsAt = arena.reserve((samples + 2) * 2)
  const [cbAt, crAt] = chroma.map(() => arena.reserve(samples * 2))
  const lastRow = Math.ceil(height / down) - 1
  const upsample = (plane: Plane, y: number, mcuRow: number, out: number) => {
    const near = Math.floor(y / down)
    const nearAt = rowAt(plane, near, mcuRow) + left / across
    if (down === 1) {
      kernel.copyRow(nearAt, samples, sumsAt)
      kernel.doubleWidth(sumsAt, samples, 1, 2, 2, out)
    } else {
      const far = Math.min(Math.max(near + (y % 2 === 0 ? -1 : 1), 0), lastRow)
      kernel.blendRows(nearAt, rowAt(plane, far, mcuRow) + left / across, samples, sumsAt)
      kernel.doubleWidth(sumsAt, samples, 8, 7, 4, out)
    }
  }
  return (y, mcuRow, out) => {
    upsample(chroma[0], y, mcuRow, cbAt)
    upsample(chroma[1], y, mcuRow, crAt)
    kernel.yccToRgb(rowAt(luma, y, mcuRow) + left, cbAt, crAt, width, out + left * 3)
  }
}
