/** A server's resident memory, and the container's flags that affect it. */
import { readFileSync } from 'node:fs'
import type { RunningServer } from '../test/running_server.ts'

/** As the Dockerfile sets them. */
export const CONTAINER = {
  NODE_OPTIONS: '--max-semi-space-size=8',
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: '131072',
  MALLOC_TRIM_THRESHOLD_: '131072',
}

export function residentMb({ process: { pid } }: RunningServer): number {
  const line = readFileSync(`/proc/${pid}/status`, 'utf8').match(/VmRSS:\s+(\d+) kB/)
  return Number(line?.[1]) / 1024
}
