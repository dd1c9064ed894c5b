/**
 * Baseline JPEG files, decoded: sooner than libvips does it, and without the samples that are not wanted.
 *
 * The pixels are those of libjpeg-turbo's defaults, and so Pillow's; see jpeg_kernel.as.ts.
 */

import { toBytes } from '../../lib/inference/tensor.ts'
import { type Box, mustBePlain, type Picture, turnedSize } from '../pixels.ts'
import { type Kernel, Pass } from '../wasm/arena.ts'
import { type Component, FIRST_AC, type Frame, type Jpeg, readJpeg } from './jpeg_file.ts'

/** addresses and sizes in bytes, see jpeg_kernel.as.ts */
interface JpegKernel extends Kernel {
  TABLE_BYTES: { value: number }
  unstuff(source: number, end: number, segments: number, most: number, out: number): number
  table(counts: number, symbols: number, out: number): number
  begin(segments: number, interval: number): void
  bytesLeft(): number
  decodeRow(
    components: number,
    count: number,
    mcus: number,
    from: number,
    to: number,
    block: number,
    zigzag: number,
  ): number
  blend(near: number, far: number, width: number, out: number): void
  copy(row: number, width: number, out: number): void
  widen(row: number, width: number, even: number, odd: number, shift: number, out: number): void
  toRgb(y: number, cb: number, cr: number, width: number, out: number): void
}

type JpegPass = Pass<JpegKernel>

/** Samples along a side of a block. */
const SIDE = 8

/** The place of each coefficient in a block (T.81, figure 5). */
const ZIGZAG = zigzag()

function zigzag(): number[] {
  const places = Array.from({ length: SIDE * SIDE }, (_, place) => place)
  const diagonal = (place: number) => Math.floor(place / SIDE) + (place % SIDE)
  // diagonal by diagonal, the odd ones downwards
  const along = (place: number) => (diagonal(place) % 2 === 1 ? place : -place)
  return places.sort((a, b) => diagonal(a) - diagonal(b) || along(a) - along(b))
}

/** Where a segment is, and how long: two i32. */
const SEGMENT_BYTES = 8
/** Most that is left free behind a segment. */
const GAP_BYTES = 12

/** What the first component may have of an MCU, across and down; the others have one block. */
const SAMPLINGS = ['1x1', '2x1', '2x2']

/** Names of the components of a file that is not in YCbCr. */
const RGB = 'RGB'

/**
 * Decode a baseline JPEG file: grey, or YCbCr with all of the chroma, half of it across, or half across and down.
 *
 * @param maxPixels width x height allowed
 * @throws NotPlain for every other kind, and for more pixels; where the file is not in order only when its rows are
 * asked for
 */
export function decodeJpeg(file: Uint8Array, maxPixels: number): Picture {
  const jpeg = readJpeg(toBytes(file))
  const { width, height, components } = jpeg.frame
  mustBePlain(width * height <= maxPixels)
  mustBePlain(components.length > 0)
  const [luma, ...chroma] = components
  if (chroma.length === 0) {
    mustBePlain(luma.across > 0 && luma.across <= 4 && luma.down > 0 && luma.down <= 4)
    // means nothing where there is nothing else
    Object.assign(luma, { across: 1, down: 1 })
  } else {
    mustBePlain(chroma.length === 2 && String.fromCharCode(...components.map(({ name }) => name)) !== RGB)
    mustBePlain(SAMPLINGS.includes(`${luma.across}x${luma.down}`))
    mustBePlain(chroma.every(({ across, down }) => across === 1 && down === 1))
    // of one or two samples of chroma libjpeg makes four in another way
    mustBePlain(luma.across === 1 || width > 4)
  }
  return {
    ...turnedSize(jpeg.frame, jpeg.turn),
    channels: chroma.length === 0 ? 1 : 3,
    turn: jpeg.turn,
    strips: (box) => strips(jpeg, box),
  }
}

/** The rows of a component that have been decoded last, in the kernel's memory: one from before, and those of an MCU. */
interface Plane {
  at: number
  rowBytes: number
  rows: number
}

function* strips(jpeg: Jpeg, box: Box): Iterable<Uint8Array> {
  const { width, height, components } = jpeg.frame
  const [{ across, down }] = components
  const mcu = { width: across * SIDE, height: down * SIDE }
  const mcus = { across: Math.ceil(width / mcu.width), down: Math.ceil(height / mcu.height) }
  // smoothing looks at the neighbours
  const first = Math.max(0, Math.floor((box.left - 2) / mcu.width))
  const end = Math.min(mcus.across, Math.ceil((box.left + box.width + 2) / mcu.width))
  const left = first * mcu.width
  const bottom = box.top + box.height

  const pass: JpegPass = new Pass('jpeg_kernel')
  const { kernel } = pass
  beginScan(pass, jpeg, mcus.across * mcus.down)
  const planes = components.map((component) => reservePlane(pass, component, mcus.across))
  const componentsAt = putComponents(pass, jpeg, planes)
  const blockAt = pass.put(new Int16Array(SIDE * SIDE))
  const zigzagAt = pass.put(Uint8Array.from(ZIGZAG, (place) => place * 2))
  const paintRow = createPainter(pass, jpeg.frame, planes, {
    left,
    width: Math.min(width, end * mcu.width) - left,
  })
  const rowBytes = width * (planes.length === 1 ? 1 : 3)
  const outAt = pass.reserve(rowBytes * (mcu.height + 1))

  // chroma of the row below is needed for the last one of an MCU: it is painted with the next
  const late = down - 1
  for (let row = 0; row < mcus.down; row++) {
    for (const { at, rowBytes, rows } of planes)
      pass.view(at, (rows + 1) * rowBytes).copyWithin(0, rows * rowBytes)
    const top = row * mcu.height
    const isWanted = top < bottom + 2 && top + mcu.height > box.top - 2
    const isInOrder = kernel.decodeRow(
      componentsAt,
      planes.length,
      mcus.across,
      first,
      isWanted ? end : 0,
      blockAt,
      zigzagAt,
    )
    mustBePlain(isInOrder)
    const from = Math.max(box.top, row === 0 ? 0 : top - late)
    const to = Math.min(bottom, row === mcus.down - 1 ? height : top + mcu.height - late)
    for (let y = from; y < to; y++) paintRow(y, row, outAt + (y - from) * rowBytes)
    if (from < to) yield pass.view(outAt, (to - from) * rowBytes)
  }
  mustBePlain(kernel.bytesLeft() >= 0)
}

/** What the kernel may read behind the data before it is found out: a whole MCU of the longest codes. */
const OVERREAD_BYTES = 2 ** 12

function beginScan(pass: JpegPass, { data, restarts }: Jpeg, mcus: number): void {
  const { kernel } = pass
  const segments = restarts > 0 ? Math.ceil(mcus / restarts) : 1
  const source = pass.put(data)
  const segmentsAt = pass.reserve(segments * SEGMENT_BYTES)
  const out = pass.reserve(data.length + segments * GAP_BYTES + OVERREAD_BYTES)
  mustBePlain(kernel.unstuff(source, source + data.length, segmentsAt, segments, out) === segments)
  kernel.begin(segmentsAt, restarts)
}

function reservePlane(pass: JpegPass, { across, down }: Component, mcus: number): Plane {
  const rowBytes = mcus * across * SIDE
  const rows = down * SIDE
  return { at: pass.reserve((1 + rows) * rowBytes), rowBytes, rows }
}

function putComponents(
  pass: JpegPass,
  { frame, quantisers, codes, codeNumbers }: Jpeg,
  planes: Plane[],
): number {
  const putCode = (number: number) => {
    mustBePlain(codes[number])
    const { counts, symbols } = codes[number]
    const at = pass.reserve(pass.kernel.TABLE_BYTES.value)
    mustBePlain(pass.kernel.table(pass.put(counts), pass.put(symbols), at))
    return at
  }
  const described = frame.components.flatMap((component, i) => {
    const inOrderOfScan = quantisers[component.quantisers]
    mustBePlain(inOrderOfScan)
    const quants = new Int16Array(SIDE * SIDE)
    for (const [k, place] of ZIGZAG.entries()) quants[place] = inOrderOfScan[k]
    const { at, rowBytes } = planes[i]
    return [
      putCode(codeNumbers[i] >> 4),
      putCode(FIRST_AC + (codeNumbers[i] & 15)),
      pass.put(quants),
      at + rowBytes,
      rowBytes,
      component.across,
      component.down,
      0,
    ]
  })
  return pass.put(Int32Array.from(described))
}

/** Makes a row of the picture from those of its components, in some columns. */
type Painter = (y: number, mcuRow: number, out: number) => void

function createPainter(
  pass: JpegPass,
  { height, components }: Frame,
  planes: Plane[],
  { left, width }: { left: number; width: number },
): Painter {
  const { kernel } = pass
  const [{ across, down }] = components
  const rowAt = ({ at, rowBytes, rows }: Plane, y: number, mcuRow: number) =>
    at + (1 + y - mcuRow * rows) * rowBytes
  const [luma, ...chroma] = planes
  if (chroma.length === 0)
    return (y, mcuRow, out) =>
      pass.view(out + left, width).set(pass.view(rowAt(luma, y, mcuRow) + left, width))

  if (across === 1)
    return (y, mcuRow, out) => {
      const [lumaAt, cbAt, crAt] = planes.map((plane) => rowAt(plane, y, mcuRow) + left)
      kernel.toRgb(lumaAt, cbAt, crAt, width, out + left * 3)
    }

  const samples = Math.ceil(width / across)
  const sumsAt = pass.reserve((samples + 2) * 2)
  const [cbAt, crAt] = chroma.map(() => pass.reserve(samples * 2))
  const lastRow = Math.ceil(height / down) - 1
  const widenChroma = (plane: Plane, y: number, mcuRow: number, out: number) => {
    const near = Math.floor(y / down)
    const nearAt = rowAt(plane, near, mcuRow) + left / across
    if (down === 1) {
      kernel.copy(nearAt, samples, sumsAt)
      kernel.widen(sumsAt, samples, 1, 2, 2, out)
    } else {
      const far = Math.min(Math.max(near + (y % 2 === 0 ? -1 : 1), 0), lastRow)
      kernel.blend(nearAt, rowAt(plane, far, mcuRow) + left / across, samples, sumsAt)
      kernel.widen(sumsAt, samples, 8, 7, 4, out)
    }
  }
  return (y, mcuRow, out) => {
    widenChroma(chroma[0], y, mcuRow, cbAt)
    widenChroma(chroma[1], y, mcuRow, crAt)
    kernel.toRgb(rowAt(luma, y, mcuRow) + left, cbAt, crAt, width, out + left * 3)
  }
}
