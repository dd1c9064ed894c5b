/**
 * Pillow's `Image.resize` for 8-bit pixels, bit for bit.
 *
 * Source: Pillow, src/libImaging/Resample.c (ImagingResampleInner). torchvision on PIL images and transformers' image
 * processors both resize with it.
 */

import { crop, cutColumns, type ImageSource } from '../decode/image_source.ts'
import { orientPixels, orientSize, TRANSPOSED } from '../orientation.ts'
import { type Box, collect, fullBox, type Pixels } from '../pixels.ts'
import { mapRows, pieces, pixelArena, rowsPerPiece } from '../wasm/pixel_kernel.ts'
import { type Coefficients, coefficientsOf, flipped, inputRange, splitWeights } from './coefficients.ts'
import type { Filter } from './filters.ts'

/** Rows on their way through the two passes. */
interface RowStream {
  chunks: Iterable<Uint8Array>
  rowBytes: number
  channels: 1 | 3
}

/**
 * Resize as `Image.resize((width, height), filter)`, and return only `box` of the result (default: all of it).
 *
 * Two passes, along x first and rounded to 8 bits in between, of what `box` needs and nothing else. A source whose axes
 * are swapped is resized as it is stored, its displayed x still first, and only the result is transposed.
 *
 * @param width of the whole resized image in pixels, at least 1
 * @param height likewise
 * @param box within width x height
 */
export function resize(
  source: ImageSource,
  width: number,
  height: number,
  filter: Filter,
  box: Box = fullBox({ width, height }),
): Pixels {
  if (width === source.width && height === source.height) return crop(source, box)
  const { channels, orientation } = source
  const displayedX = coefficientsOf(source.width, width, box.left, box.width, filter)
  const displayedY = coefficientsOf(source.height, height, box.top, box.height, filter)
  const x = orientation.flipX ? flipped(displayedX, source.width) : displayedX
  const y = orientation.flipY ? flipped(displayedY, source.height) : displayedY
  if (!orientation.swapAxes) {
    const { from } = inputRange(y)
    const data = vertical(horizontal(readStored(source, x, y), x), y, from)
    return { data, width: box.width, height: box.height, channels }
  }
  // the first pass makes only the columns that the second reads
  const columns = inputRange(y)
  const shiftedY = { ...y, first: y.first.map((low) => low - columns.from) }
  const stored = readStored(source, y, x)
  const rowBytes = columns.length * channels
  const chunks = cutColumns(stored.chunks, stored.rowBytes, columns.from * channels, rowBytes)
  const between = vertical({ chunks, rowBytes, channels }, x, inputRange(x).from)
  const outRows = horizontal({ chunks: [between], rowBytes, channels }, shiftedY)
  const data = collect(outRows.chunks, new Uint8Array(box.width * box.height * channels))
  return orientPixels({ data, channels, width: box.height, height: box.width }, TRANSPOSED)
}

/** The stored rows that the coefficients of both stored axes need. */
function readStored(source: ImageSource, across: Coefficients, down: Coefficients): RowStream {
  const [columns, rows] = [inputRange(across), inputRange(down)]
  const box = { left: columns.from, top: rows.from, width: columns.length, height: rows.length }
  const { channels } = source
  const rowBytes = orientSize(source, source.orientation).width * channels
  return { chunks: source.rowChunks(box), rowBytes, channels }
}

/** Resample each row. */
function horizontal({ chunks, rowBytes, channels }: RowStream, coefficients: Coefficients): RowStream {
  const { first, count, stride } = coefficients
  const width = first.length
  const outRowBytes = width * channels
  const stage = { chunks, rowBytes, outRowBytes, tables: [first, count, splitWeights(coefficients)] }
  const outChunks = mapRows(stage, (kernel, rows, source, out, [firstAt, countAt, weightsAt]) =>
    kernel.horizontal(source, rowBytes, rows, channels, firstAt, countAt, weightsAt, stride, width, out),
  )
  return { chunks: outChunks, rowBytes: outRowBytes, channels }
}

/**
 * Resample each column: each output row as soon as the last row that it reads has come.
 *
 * @param top number of the first row of the stream
 */
function vertical({ chunks, rowBytes }: RowStream, coefficients: Coefficients, top: number): Uint8Array {
  const { first, count, weights, stride } = coefficients
  const height = first.length
  const data = new Uint8Array(height * rowBytes)
  const endOf = (row: number) => first[row] + count[row]
  // a flipped axis reads from the bottom: its last output row is complete first
  const isFlipped = first[0] + endOf(0) > first[height - 1] + endOf(height - 1)
  const step = isFlipped ? -1 : 1

  const maxRows = rowsPerPiece(rowBytes)
  const maxCount = count.reduce((a, b) => Math.max(a, b), 0)
  const arena = pixelArena()
  const weightsAt = arena.put(weights)
  // a window of the stream: the rows `start` to `end`, moved to its beginning when it is full
  const capacity = maxCount + Math.max(maxRows, maxCount >> 1)
  const windowAt = arena.reserve(capacity * rowBytes)
  const outAt = arena.reserve(rowBytes)
  let [start, end] = [top, top]
  let row = isFlipped ? height - 1 : 0
  for (const piece of pieces(chunks, rowBytes, maxRows)) {
    const newEnd = end + piece.length / rowBytes
    if (newEnd - start > capacity) {
      const newStart = Math.min(Math.max(start, first[row] ?? end), end)
      arena.view(windowAt, (end - start) * rowBytes).copyWithin(0, (newStart - start) * rowBytes)
      start = newStart
    }
    arena.view(windowAt + (end - start) * rowBytes, piece.length).set(piece)
    end = newEnd
    for (; endOf(row) <= end; row += step) {
      const at = windowAt + (first[row] - start) * rowBytes
      arena.kernel.vertical(at, rowBytes, count[row], weightsAt + row * stride * 4, outAt)
      data.set(arena.view(outAt, rowBytes), row * rowBytes)
    }
  }
  arena.release()
  return data
}
