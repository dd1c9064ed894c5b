/** A request's body, counted while it arrives. */
import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'
import { bodyTooLarge, type Reservation } from '../http/admission.ts'
import { messageOf, RequestError } from '../inference/errors.ts'
import { releaseChunk } from '../workers/memory.ts'

const DECOMPRESSORS = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
}

/**
 * Read a body, decompressed as its Content-Encoding says.
 *
 * @param maxBytes the limit after decompression
 * @throws RequestError 413 too large, 415 unknown Content-Encoding, 400 invalid or incomplete, 503 too many bodies at once
 */
export async function readBody(
  req: IncomingMessage,
  maxBytes: number,
  reservation: Reservation,
): Promise<Buffer<ArrayBuffer>> {
  requireUnread(req)
  const encoding = (req.headers['content-encoding'] || 'identity').toLowerCase()
  if (encoding === 'identity') return collect(req, maxBytes, reservation)
  if (!Object.hasOwn(DECOMPRESSORS, encoding)) {
    throw new RequestError(
      415,
      `Content-Encoding ${JSON.stringify(encoding)} is not supported: send gzip, deflate, br or none`,
    )
  }
  const decompressor = DECOMPRESSORS[encoding as keyof typeof DECOMPRESSORS]()
  req.on('error', (error) => decompressor.destroy(error)).pipe(decompressor)
  try {
    return await collect(decompressor, maxBytes, reservation)
  } catch (error) {
    if (error instanceof RequestError && error.status !== 400) throw error
    throw new RequestError(400, `the body is not valid ${encoding}: ${messageOf(error)}`)
  } finally {
    req.unpipe(decompressor).resume() // read and drop the rest, so that the response can be sent
    decompressor.destroy()
  }
}

/** @throws Error in an app that reads bodies before this one does */
export function requireUnread(req: IncomingMessage): void {
  if (!req.readableEnded) return
  throw new Error(
    'the body has been read already: mount this app in front of body parsers such as express.json()',
  )
}

/** Read a stream into one aligned buffer; beyond the limit, the rest is read and dropped. */
export function collect(
  stream: Readable,
  maxBytes: number,
  reservation: Reservation,
): Promise<Buffer<ArrayBuffer>> {
  return new Promise((resolve, reject) => {
    let chunks: Buffer[] = []
    let total = 0
    let isRefused = false
    stream.on('data', (chunk: Buffer) => {
      if (isRefused) return releaseChunk(chunk)
      try {
        total += chunk.length
        if (total > maxBytes) throw bodyTooLarge(maxBytes)
        reservation.countBody(chunk.length)
        chunks.push(chunk)
      } catch (error) {
        isRefused = true
        chunks = []
        reject(error)
      }
    })
    stream.on('end', () => {
      if (isRefused) return
      const body = concatenateAligned(chunks, total)
      chunks.forEach(releaseChunk)
      reservation.own(body.buffer)
      resolve(body)
    })
    stream.on('error', (error) =>
      reject(new RequestError(400, `the body cannot be read: ${messageOf(error)}`)),
    )
    stream.on('close', () => {
      if (!stream.readableEnded) reject(new RequestError(400, 'the body ended before it was complete'))
    })
  })
}

/** Unlike Buffer.concat, into memory of its own: the bytes can be viewed as float32 without another copy. */
export function concatenateAligned(chunks: readonly Buffer[], total: number): Buffer<ArrayBuffer> {
  const joined = Buffer.from(new ArrayBuffer(total))
  let offset = 0
  for (const chunk of chunks) {
    chunk.copy(joined, offset)
    offset += chunk.length
  }
  return joined
}
