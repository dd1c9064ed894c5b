/** Files that are read once, on the first request, and then served from memory. */
import { readFile, stat } from 'node:fs/promises'
import { extname } from 'node:path'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import type { Handler } from './routes.ts'

/** Extensions of files that are also kept compressed. */
const TEXTS = ['.html', '.css', '.mjs', '.js']

/**
 * Not Express's `sendFile`: it never closes the file if the connection closes before the response has started.
 */
export function staticFile(path: string): Handler {
  let file: ReturnType<typeof read> | undefined

  async function read() {
    const [bytes, { mtime }] = await Promise.all([readFile(path), stat(path)])
    const compressed = TEXTS.includes(extname(path)) ? await promisify(gzip)(bytes) : undefined
    return { bytes, compressed, modified: mtime.toUTCString() }
  }

  return async ({ req, res }) => {
    file ??= read().catch((error) => {
      file = undefined // retry on the next request
      throw error
    })
    const { bytes, compressed, modified } = await file
    res.set({ 'cache-control': 'public, max-age=0', 'last-modified': modified }).type(extname(path))
    if (!compressed) return res.send(bytes)
    res.vary('accept-encoding')
    if (!req.acceptsEncodings('gzip')) return res.send(bytes)
    res.set('content-encoding', 'gzip').send(compressed)
  }
}
