/** V8's heap, for a process that may be idle for minutes and should then respond as fast as before. */
import { setFlagsFromString } from 'node:v8'

const [NODE_MAJOR] = process.versions.node.split('.').map(Number)

/**
 * Set the flags that V8 reads whenever it needs them, for all threads.
 *
 * To be called before the process is eight seconds old: V8 aborts if its memory reducer has run more often than the limit.
 */
export function configureHeap(): void {
  // Otherwise --max-semi-space-size, as in the container image, would replace the threads' own limit. V8 reads it when a
  // thread starts, so the main thread keeps it.
  setFlagsFromString('--max-semi-space-size=0')
  // After a pause of a minute, V8 shrinks the young generation to half a megabyte, and then doubles it so slowly that it still
  // collects four times as often thousands of requests later.
  setFlagsFromString('--semi-space-growth-factor=4')
  // V8 also lets the old generation grow by only a third then, and collects it a few seconds later, which delays dozens of
  // requests by milliseconds. Let it become three times as large, as under a steady load.
  setFlagsFromString('--heap-growing-percent=200')
  // After 100 idle seconds, V8 would give 25 to 65 MB back, and throw the compiled code of the whole server away with them.
  // Node 20 cannot be kept from it.
  if (NODE_MAJOR >= 22) setFlagsFromString('--memory-reducer-gc-count=0')
}
