/** Files that are read once, on the first request, and then served from memory. */
import { readFile, stat } from 'node:fs/promises'
import { extname } from 'node:path'
import type { Handler } from './routes.ts'

/**
 * Not Express's `sendFile`: it never closes the file if the connection closes before the response has started.
 */
export function staticFile(path: string): Handler {
  let file: Promise<{ bytes: Buffer; modified: string }> | undefined

  async function read() {
    const [bytes, { mtime }] = await Promise.all([readFile(path), stat(path)])
    return { bytes, modified: mtime.toUTCString() }
  }

  return async ({ res }) => {
    file ??= read().catch((error) => {
      file = undefined // retry on the next request
      throw error
    })
    const { bytes, modified } = await file
    res.set({ 'cache-control': 'public, max-age=0', 'last-modified': modified })
    res.type(extname(path)).send(bytes)
  }
}
