/** The memory that this process may use. */
import { totalmem } from 'node:os'

/** @returns bytes: the limit of the container (cgroup), else the machine's memory */
export function availableMemory(): number {
  const limit = process.constrainedMemory() // 0 or far more than the machine has: there is none
  return limit > 0 ? Math.min(limit, totalmem()) : totalmem()
}
