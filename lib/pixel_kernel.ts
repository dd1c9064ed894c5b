/** pixel_kernel.wasm. */
import { type Kernel, Pass } from './wasm.ts'

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

/** Rows in the kernel's memory, by their addresses. */
export interface Strip {
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
  let [most, source, out] = [0, 0, 0]
  let end = 0
  for (const strip of strips) {
    const rows = strip.length / rowBytes
    if (rows > most) {
      most = rows
      source = pass.reserve(rows * rowBytes)
      out = pass.reserve(rows * toRowBytes)
    }
    pass.view(source, strip.length).set(strip)
    work(pass.kernel, { rows, source, out }, tablesAt)
    to.set(pass.view(out, rows * toRowBytes), end)
    end += rows * toRowBytes
  }
  return to
}
