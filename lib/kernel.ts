/** resample_kernel.wasm and the memory that it works in, one a thread. */
import { readFileSync } from 'node:fs'

// TypeScript has this among the browser's types only
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object
  Instance: new (module: object) => { exports: object }
}

/** addresses and sizes in bytes, see resample_kernel.as.ts */
interface Exports {
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
}

const PAGE = 2 ** 16
/** The kernel reads and writes a little past the data. */
const MARGIN = 16
/** A memory never shrinks: one that an odd image has made larger is given up. */
const KEPT_BYTES = 2 ** 24

let compiled: object | undefined
let kept: Exports | undefined

/** The kernel for one pass over an image, and its memory, given out from the beginning. */
export class Pass {
  readonly kernel: Exports
  #used = MARGIN

  /** @param bytes that will be asked for in all, in so many parts */
  constructor(bytes: number, parts: number) {
    compiled ??= new WebAssembly.Module(readFileSync(new URL('resample_kernel.wasm', import.meta.url)))
    this.kernel = kept ?? (new WebAssembly.Instance(compiled).exports as Exports)
    const { memory } = this.kernel
    const missing = bytes + (parts + 1) * 2 * MARGIN - memory.buffer.byteLength
    if (missing > 0) memory.grow(Math.ceil(missing / PAGE))
    kept = memory.buffer.byteLength > KEPT_BYTES ? undefined : this.kernel
  }

  /** @returns the address of so many bytes */
  reserve(bytes: number): number {
    const address = this.#used
    this.#used += Math.ceil((bytes + MARGIN) / MARGIN) * MARGIN
    return address
  }

  /** @returns the address of a copy */
  put(numbers: Int32Array): number {
    const address = this.reserve(numbers.byteLength)
    new Int32Array(this.kernel.memory.buffer, address, numbers.length).set(numbers)
    return address
  }

  /** The bytes at an address, to read or to write. */
  view(address: number, bytes: number): Uint8Array {
    return new Uint8Array(this.kernel.memory.buffer, address, bytes)
  }
}
