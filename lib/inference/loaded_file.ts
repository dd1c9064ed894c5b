/** Whether a file is still the one that was loaded. */
import { statSync } from 'node:fs'
import { StartError } from './errors.ts'

/** What changes when a file is replaced or written; undefined if there is none. */
export function stateOf(path: string): string | undefined {
  const stats = statSync(path, { throwIfNoEntry: false })
  return stats && `${stats.ino} ${stats.size} ${stats.mtimeMs}`
}

/**
 * Call this before a graph is loaded again: another one may have other classes, and the labels were read for the first.
 *
 * @param loaded its state when it was loaded
 * @throws StartError if the file has changed; one that is missing has not
 */
export function requireUnchanged(path: string, loaded: string | undefined): void {
  const state = stateOf(path)
  if (state && state !== loaded)
    throw new StartError(`${path} has changed since it was loaded, and SIGHUP loads it`)
}
