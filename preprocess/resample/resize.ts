/**
 * Pillow's `Image.resize` for 8-bit pixels, and PyTorch's `interpolate(antialias=True)`, bit for bit.
 *
 * Source: Pillow, src/libImaging/Resample.c (ImagingResampleInner). PyTorch's kernel for uint8 has Pillow's weights in another
 * fixed point.
 */
import type { ImageSource } from '../decode/image_source.ts'
import { orientPixels, orientSize } from '../orientation.ts'
import { type Box, collect, type Pixels, type Size } from '../pixels.ts'
import { mapRows, pieces, pixelArena, rowsPerPiece } from '../wasm/pixel_kernel.ts'
import { type Coefficients, coefficientsOf, flipped, type Sampling, splitWeights } from './coefficients.ts'

/** Rows on their way through the two passes; each chunk is valid until the next is requested. */
interface Rows {
  chunks: Iterable<Uint8Array>
  rowBytes: number
  channels: 1 | 3
}

/**
 * Resize the image, and return only `box` of the result.
 *
 * Two passes over what the box needs and nothing else: along the displayed x first, rounded to 8 bits in between. With
 * Pillow 13, y is first if the height loses more than twice as many pixels as the width. A rotated source is resized as it
 * is stored, and only the result is rotated.
 *
 * @param size of the whole resized image
 * @param box within it
 */
export function resize(source: ImageSource, size: Size, sampling: Sampling, box: Box): Pixels {
  const { channels, orientation } = source
  const { swapAxes, flipX, flipY } = orientation
  const displayedX = coefficientsOf(source.width, size.width, box.left, box.width, sampling)
  const displayedY = coefficientsOf(source.height, size.height, box.top, box.height, sampling)
  const x = flipX ? flipped(displayedX, source.width) : displayedX
  const y = flipY ? flipped(displayedY, source.height) : displayedY
  const [across, down] = swapAxes ? [y, x] : [x, y]
  const needed = { left: across.from, top: down.from, width: across.length, height: down.length }
  const rowBytes = orientSize(source, orientation).width * channels
  const rows = { chunks: source.rowChunks(needed), rowBytes, channels }
  const lostHeight = source.height - size.height
  const isYFirst = sampling.isPillow13 && lostHeight > 0 && lostHeight > 2 * (source.width - size.width)
  const { chunks } =
    swapAxes !== Boolean(isYFirst)
      ? horizontal(vertical(cutColumns(rows, needed), down), { ...across, from: 0 })
      : vertical(horizontal(rows, across), down)
  const [width, height] = [across.first.length, down.first.length]
  const data = collect(chunks, new Uint8Array(width * height * channels))
  return orientPixels({ data, width, height, channels }, orientation)
}

function cutColumns({ chunks, rowBytes, channels }: Rows, { left, width }: Box): Rows {
  const [from, bytes] = [left * channels, width * channels]
  function* cut() {
    for (const chunk of chunks)
      for (let at = from; at < chunk.length; at += rowBytes) yield chunk.subarray(at, at + bytes)
  }
  return { chunks: cut(), rowBytes: bytes, channels }
}

/** Resample each row. */
function horizontal({ chunks, rowBytes, channels }: Rows, coefficients: Coefficients): Rows {
  const { from, first, count, stride } = coefficients
  const width = first.length
  const stage = {
    chunks,
    rowBytes,
    outRowBytes: width * channels,
    tables: [first, count, splitWeights(coefficients)],
  }
  const resampled = mapRows(stage, (kernel, rows, source, out, [firstAt, countAt, weightsAt]) => {
    const at = source + from * channels
    kernel.horizontal(at, rowBytes, rows, channels, firstAt, countAt, weightsAt, stride, width, out)
  })
  return { chunks: resampled, rowBytes: width * channels, channels }
}

/** Resample each column. */
function vertical(rows: Rows, coefficients: Coefficients): Rows {
  return { ...rows, chunks: resampledColumns(rows, coefficients) }
}

/** Each output row as soon as the last row that it reads has arrived. */
function* resampledColumns({ chunks, rowBytes }: Rows, coefficients: Coefficients): Iterable<Uint8Array> {
  const { first, count, weights, stride } = coefficients
  const maxRows = rowsPerPiece(rowBytes)
  const maxCount = count.reduce((a, b) => Math.max(a, b), 0)
  const arena = pixelArena()
  try {
    const weightsAt = arena.put(weights)
    // a window of the stream: the rows `start` to `end`, moved to its beginning when it is full
    const capacity = maxCount + Math.max(maxRows, maxCount >> 1)
    const windowAt = arena.reserve(capacity * rowBytes)
    const outAt = arena.reserve(rowBytes)
    let [start, end, row] = [0, 0, 0]
    for (const piece of pieces(chunks, rowBytes, maxRows)) {
      const newEnd = end + piece.length / rowBytes
      if (newEnd - start > capacity) {
        const newStart = Math.min(first[row] ?? end, end)
        arena.view(windowAt, (end - start) * rowBytes).copyWithin(0, (newStart - start) * rowBytes)
        start = newStart
      }
      arena.view(windowAt + (end - start) * rowBytes, piece.length).set(piece)
      end = newEnd
      for (; first[row] + count[row] <= end; row++) {
        const at = windowAt + (first[row] - start) * rowBytes
        const rowWeights = weightsAt + row * stride * 4
        arena.kernel.vertical(at, rowBytes, count[row], rowWeights, outAt)
        yield arena.view(outAt, rowBytes)
      }
    }
  } finally {
    arena.release()
  }
}
