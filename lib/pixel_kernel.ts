/** pixel_kernel.wasm and the memory that it works in, one a thread. */
import { readFileSync } from 'node:fs'
import { toBytes } from './tensor.ts'

// TypeScript has this among the browser's types only
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object
  Instance: new (module: object) => { exports: object }
}

/** addresses and sizes in bytes, see pixel_kernel.as.ts */
export interface Kernel {
  memory: { buffer: ArrayBuffer; grow(pages: number): number }
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

const PAGE = 2 ** 16
/** The kernel reads and writes a little past the data. */
const MARGIN = 16
/** A memory never shrinks: one that an odd image has made larger is given up. */
const KEPT_BYTES = 2 ** 24
/** Rows are handed to the kernel some at a time, so that its memory stays small. */
const STRIP_BYTES = 2 ** 18

let compiled: object | undefined
let kept: Kernel | undefined

/** The kernel for one pass over an image, and its memory, given out from the beginning. */
export class Pass {
  readonly kernel: Kernel
  #used = MARGIN

  constructor() {
    compiled ??= new WebAssembly.Module(readFileSync(new URL('pixel_kernel.wasm', import.meta.url)))
    kept ??= new WebAssembly.Instance(compiled).exports as Kernel
    this.kernel = kept
  }

  /** @returns the address of so many bytes */
  reserve(bytes: number): number {
    const address = this.#used
    this.#used += Math.ceil((bytes + MARGIN) / MARGIN) * MARGIN
    const { memory } = this.kernel
    const missing = this.#used - memory.buffer.byteLength
    if (missing > 0) memory.grow(Math.ceil(missing / PAGE))
    if (memory.buffer.byteLength > KEPT_BYTES) kept = undefined
    return address
  }

  /** @returns the address of a copy */
  put(numbers: Table): number {
    const address = this.reserve(numbers.byteLength)
    this.view(address, numbers.byteLength).set(toBytes(numbers))
    return address
  }

  /** The bytes at an address, to read or to write; until more is reserved, which may move all of it. */
  view(address: number, bytes: number): Uint8Array {
    return new Uint8Array(this.kernel.memory.buffer, address, bytes)
  }
}

/** Rows in the kernel's memory, by their addresses. */
export interface Strip {
  rows: number
  source: number
  out: number
}

/**
 * Make other rows of each of an image's rows.
 *
 * @param rowBytes of a row of `source`
 * @param outBytes of a row of the result
 * @param tables that the work needs
 * @param work told where the rows are, and the tables
 * @param result where the rows go
 */
export function mapRows(
  source: Uint8Array,
  rowBytes: number,
  outBytes: number,
  tables: Table[],
  work: (kernel: Kernel, strip: Strip, tables: number[]) => void,
  result = new Uint8Array((source.length / rowBytes) * outBytes),
): Uint8Array {
  const height = source.length / rowBytes
  const most = Math.min(height, Math.max(1, Math.floor(STRIP_BYTES / Math.max(rowBytes, outBytes))))
  const pass = new Pass()
  const tablesAt = tables.map((table) => pass.put(table))
  const [sourceAt, outAt] = [pass.reserve(most * rowBytes), pass.reserve(most * outBytes)]
  for (let y = 0; y < height; y += most) {
    const rows = Math.min(most, height - y)
    pass.view(sourceAt, rows * rowBytes).set(source.subarray(y * rowBytes, (y + rows) * rowBytes))
    work(pass.kernel, { rows, source: sourceAt, out: outAt }, tablesAt)
    result.set(pass.view(outAt, rows * outBytes), y * outBytes)
  }
  return result
}
