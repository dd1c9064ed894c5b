/** Buffers that are freed at once instead of by the garbage collector. */
import { MessageChannel } from 'node:worker_threads'

// Node 22 has it, TypeScript's es2023 does not
type Transferable = ArrayBuffer & { transfer?(bytes: number): ArrayBuffer }

const HAS_TRANSFER = 'transfer' in ArrayBuffer.prototype

/** Smaller buffers are garbage-collected as fast as they are detached. */
const MIN_BYTES = HAS_TRANSFER ? 2 ** 10 : 2 ** 14

/** For Node 20: a buffer that is posted to a closed port is freed at once. */
function createDetach(): (memory: Transferable) => void {
  const { port1, port2 } = new MessageChannel()
  port2.close()
  return (memory) => port1.postMessage(null, [memory])
}

const detach = HAS_TRANSFER ? (memory: Transferable) => memory.transfer!(0) : createDetach()

/**
 * Free a large buffer now; it is detached, so views of it are empty.
 *
 * V8 counts the memory of buffers and runs a full collection for every few tens of megabytes, 20 ms on this thread and as
 * much on another: an eighth of all processor time when serving photos. A detached buffer is not counted, and the next
 * allocation finds its pages warm.
 */
export function release(memory: ArrayBuffer): void {
  if (memory.byteLength >= MIN_BYTES) detach(memory)
}
