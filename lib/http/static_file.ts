/** Files that are read once, when they are first asked for, and then served from memory. */
import { readFile, stat } from 'node:fs/promises'
import { extname } from 'node:path'
import type { RequestHandler } from 'express'

/**
 * Not Express's `sendFile`: its descriptor stays open for ever where the connection closes before the response has had
 * its turn on it.
 */
export function staticFile(path: string): RequestHandler {
  let file: Promise<{ bytes: Buffer; modified: string }> | undefined

  async function read() {
    const [bytes, { mtime }] = await Promise.all([readFile(path), stat(path)])
    return { bytes, modified: mtime.toUTCString() }
  }

  return async (_req, res) => {
    file ??= read().catch((error) => {
      file = undefined // retry on the next request
      throw error
    })
    const { bytes, modified } = await file
    res.set({ 'cache-control': 'public, max-age=0', 'last-modified': modified })
    res.type(extname(path)).send(bytes)
  }
}
