/** pixel_kernel.wasm. */
import { type Kernel, Pass } from './arena.ts'

/** addresses and sizes in bytes, see pixel_kernel.as.ts */
interface PixelKernel extends Kernel {
  horizontal(
    source: number,
    rowBytes: number,
    rows: number,
    channels: number,
    first: number,
    count: number,
    weights: number,
    stride: number,
    width: number,
    out: number,
  ): void
  vertical(source: number, rowBytes: number, count: number, weights: number, out: number): void
  unfilter(
    source: number,
    rowBytes: number,
    rows: number,
    pixelBytes: number,
    previous: number,
    out: number,
  ): void
  keep(source: number, pixels: number, pixelBytes: number, kept: number, out: number): void
  lookUp(source: number, pixels: number, palette: number, out: number): void
  luma(source: number, pixels: number, out: number): void
  plane(source: number, pixels: number, step: number, table: number, out: number): void
}

type Table = Uint8Array | Int16Array | Int32Array | Float32Array

export function newPass(): Pass<PixelKernel> {
  return new Pass('pixel_kernel')
}

/** Rows are copied into the kernel's memory some at a time, so that it stays small. */
const MOST_BYTES = 2 ** 18

/** @returns how many rows of so many bytes are copied at once */
export function rowsAtOnce(rowBytes: number): number {
  return Math.max(1, Math.floor(MOST_BYTES / rowBytes))
}

/** Cut strips into pieces of at most so many rows. */
export function* pieces(strips: Iterable<Uint8Array>, rowBytes: number, most: number): Iterable<Uint8Array> {
  for (const strip of strips)
    for (let at = 0; at < strip.length; at += most * rowBytes) yield strip.subarray(at, at + most * rowBytes)
}

/** Rows in the kernel's memory, by their addresses. */
interface Strip {
  rows: number
  source: number
  out: number
}

interface Rows {
  /** the rows, some at a time */
  strips: Iterable<Uint8Array>
  rowBytes: number
  /** receives other rows */
  to: Uint8Array
  toRowBytes: number
  /** that the work needs */
  tables?: Table[]
}

/**
 * Make another row of each row.
 *
 * @param work told where some rows are, and where the tables
 * @returns `to`
 */
export function mapRows(
  { strips, rowBytes, to, toRowBytes, tables = [] }: Rows,
  work: (kernel: PixelKernel, strip: Strip, tables: number[]) => void,
): Uint8Array {
  const pass = newPass()
  const tablesAt = tables.map((table) => pass.put(table))
  const most = rowsAtOnce(Math.max(rowBytes, toRowBytes))
  const [source, out] = [pass.reserve(most * rowBytes), pass.reserve(most * toRowBytes)]
  let end = 0
  for (const some of pieces(strips, rowBytes, most)) {
    const rows = some.length / rowBytes
    pass.view(source, some.length).set(some)
    work(pass.kernel, { rows, source, out }, tablesAt)
    to.set(pass.view(out, rows * toRowBytes), end)
    end += rows * toRowBytes
  }
  return to
}
