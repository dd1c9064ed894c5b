/** Memory that is not left to V8's garbage collection. */
import { MessageChannel } from 'node:worker_threads'

/** Smaller pieces are collected as fast as they are given back. */
const LARGE_BYTES = 2 ** 14

// Node 22 has it; TypeScript's es2023 does not
type Transferable = ArrayBuffer & { transfer?(bytes: number): ArrayBuffer }

/** On Node 20: what is sent to a port that nobody listens on is freed there and then. */
function createFree(): (memory: Transferable) => void {
  const { port1, port2 } = new MessageChannel()
  port2.close()
  return (memory) => port1.postMessage(null, [memory])
}

const free =
  'transfer' in ArrayBuffer.prototype ? (memory: Transferable) => memory.transfer!(0) : createFree()

/**
 * Give memory back at once if it is large; whoever looks at it afterwards finds it empty.
 *
 * V8 counts what its arrays hold, and for every few tens of megabytes it goes through the whole heap, for 20 ms of this
 * thread and as much of another: with photos an eighth of all processor time. What is freed at once is not counted, and
 * the next array finds its pages warm.
 */
export function release(memory: ArrayBuffer): void {
  if (memory.byteLength >= LARGE_BYTES) free(memory)
}

/** The same for a part of a body as it came in, if it does not share its memory with another part or another request. */
export function releaseChunk(chunk: Buffer): void {
  if (chunk.length === chunk.buffer.byteLength) release(chunk.buffer as ArrayBuffer)
}
