/** The WebAssembly kernels of this folder, and the memory that they work in. */
import { readFileSync } from 'node:fs'

// @types/node does not declare WebAssembly
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object
  Instance: new (module: object) => { exports: object }
}

interface Memory {
  memory: { buffer: ArrayBuffer; grow(pages: number): number }
  /** its first free address */
  FREE: { value: number }
}

/** The functions of a kernel take addresses, and sizes in bytes or pixels: see its source. */
export type Kernel<Name extends string> = Memory & Record<Name, (...args: number[]) => number>

const PAGE_BYTES = 2 ** 16
/** Kernels may read and write up to 31 bytes past their data, and before its first row. */
const MARGIN_BYTES = 32
const ALIGNMENT_BYTES = 16
/** WebAssembly memory never shrinks: an instance that a large image has grown beyond this is not used again. */
const MAX_IDLE_BYTES = 2 ** 24

const modules = new Map<string, object>()
const idle = new Map<string, Memory[]>()

/**
 * A kernel instance for one stage of the work, and its memory, allocated from the beginning and never freed piece by
 * piece. Stages that run interleaved (one reads rows while the previous one makes them) each have an arena.
 */
export class Arena<Exports extends Memory> {
  readonly kernel: Exports
  readonly #name: string
  #used: number

  /** @param name of the kernel's file, without .wasm */
  constructor(name: string) {
    this.#name = name
    this.kernel = (idle.get(name)?.pop() ?? instantiate(name)) as Exports
    this.#used = roundUp(this.kernel.FREE.value + MARGIN_BYTES)
  }

  /** @returns the address of this many bytes, of any content */
  reserve(bytes: number): number {
    const address = this.#used
    this.#used = roundUp(address + bytes + MARGIN_BYTES)
    const { memory } = this.kernel
    const missing = this.#used - memory.buffer.byteLength
    if (missing > 0) memory.grow(Math.ceil(missing / PAGE_BYTES))
    return address
  }

  /** @returns the address of a copy */
  put({ buffer, byteOffset, byteLength }: ArrayBufferView): number {
    const address = this.reserve(byteLength)
    this.view(address, byteLength).set(new Uint8Array(buffer, byteOffset, byteLength))
    return address
  }

  /** The bytes at an address; valid until the next `reserve` or `put`, which may move the memory. */
  view(address: number, bytes: number): Uint8Array {
    return new Uint8Array(this.kernel.memory.buffer, address, bytes)
  }

  /** Return the instance for the next arena. */
  release(): void {
    if (this.kernel.memory.buffer.byteLength > MAX_IDLE_BYTES) return
    const instances = idle.get(this.#name)
    if (instances) instances.push(this.kernel)
    else idle.set(this.#name, [this.kernel])
  }
}

function roundUp(address: number): number {
  return Math.ceil(address / ALIGNMENT_BYTES) * ALIGNMENT_BYTES
}

function instantiate(name: string): Memory {
  const module =
    modules.get(name) ?? new WebAssembly.Module(readFileSync(new URL(`${name}.wasm`, import.meta.url)))
  modules.set(name, module)
  return new WebAssembly.Instance(module).exports as Memory
}
