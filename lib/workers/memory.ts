/** The memory of bodies, which is freed as soon as they are decoded. */
import { release } from '../../preprocess/index.ts'

/** Free a chunk of a body, unless it shares its buffer with other chunks. */
export function releaseChunk(chunk: Buffer): void {
  if (chunk.length === chunk.buffer.byteLength) release(chunk.buffer as ArrayBuffer)
}
