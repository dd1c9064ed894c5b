/** What a server holds in memory, and the flags of the container that bear on it. */
import { readFileSync } from 'node:fs'
import type { RunningServer } from '../test/running_server.ts'

/** Those that the Dockerfile sets. */
export const CONTAINER = {
  NODE_OPTIONS: '--max-semi-space-size=4',
  MALLOC_ARENA_MAX: '2',
  MALLOC_MMAP_THRESHOLD_: '131072',
  MALLOC_TRIM_THRESHOLD_: '131072',
}

export function residentMb({ process: { pid } }: RunningServer): number {
  const line = readFileSync(`/proc/${pid}/status`, 'utf8').match(/VmRSS:\s+(\d+) kB/)
  return Number(line?.[1]) / 1024
}
