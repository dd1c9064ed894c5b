/** Memory that is not left to V8's garbage collection. */
import { MessageChannel } from 'node:worker_threads'

const { port1: nowhere, port2 } = new MessageChannel()
port2.close()

/** Smaller pieces are collected as fast as they are given back. */
const LARGE_BYTES = 2 ** 14

/**
 * Give memory back at once if it is large; whoever looks at it afterwards finds it empty.
 *
 * V8 counts what its arrays hold, and for every few tens of megabytes it goes through the whole heap, for 20 ms of this
 * thread and as much of another: with photos an eighth of all processor time. What is sent to a port that nobody listens
 * on is freed there and then, and the next array finds its pages warm.
 */
export function release(memory: ArrayBuffer): void {
  if (memory.byteLength >= LARGE_BYTES) nowhere.postMessage(null, [memory])
}
