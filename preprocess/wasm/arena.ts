/** WebAssembly modules of this folder and the memory that they work in, one a thread. */
import { readFileSync } from 'node:fs'
import { toBytes } from '../../lib/inference/tensor.ts'

// TypeScript has this among the browser's types only
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object
  Instance: new (module: object) => { exports: object }
}

export interface Kernel {
  memory: { buffer: ArrayBuffer; grow(pages: number): number }
}

const PAGE = 2 ** 16
/** The kernels read and write a little past the data, and addresses are multiples of 16. */
const MARGIN = 32
const ALIGNMENT = 16
/** A memory never shrinks: one that an odd image has made larger is given up. */
const KEPT_BYTES = 2 ** 24

const compiled = new Map<string, object>()
const kept = new Map<string, Kernel>()

/** A kernel for one piece of work, and its memory, given out from the beginning; the next piece of work overwrites it. */
export class Pass<Exports extends Kernel> {
  readonly kernel: Exports
  readonly #name: string
  #used = MARGIN

  /** @param name of the file, without .wasm */
  constructor(name: string) {
    this.#name = name
    const kernel = kept.get(name) ?? instantiate(name)
    kept.set(name, kernel)
    this.kernel = kernel as Exports
  }

  /** @returns the address of so many bytes */
  reserve(bytes: number): number {
    const address = this.#used
    this.#used += Math.ceil((bytes + MARGIN) / ALIGNMENT) * ALIGNMENT
    const { memory } = this.kernel
    const missing = this.#used - memory.buffer.byteLength
    if (missing > 0) memory.grow(Math.ceil(missing / PAGE))
    if (memory.buffer.byteLength > KEPT_BYTES) kept.delete(this.#name)
    return address
  }

  /** @returns the address of a copy */
  put(numbers: ArrayBufferView<ArrayBufferLike>): number {
    const address = this.reserve(numbers.byteLength)
    this.view(address, numbers.byteLength).set(toBytes(numbers))
    return address
  }

  /** The bytes at an address, to read or to write; until more is reserved, which may move all of it. */
  view(address: number, bytes: number): Uint8Array {
    return new Uint8Array(this.kernel.memory.buffer, address, bytes)
  }
}

function instantiate(name: string): Kernel {
  const module =
    compiled.get(name) ?? new WebAssembly.Module(readFileSync(new URL(`${name}.wasm`, import.meta.url)))
  compiled.set(name, module)
  return new WebAssembly.Instance(module).exports as Kernel
}
