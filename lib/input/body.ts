/** The bytes of a request's body, counted while they come in. */
import type { IncomingMessage } from 'node:http'
import type { Readable } from 'node:stream'
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'
import type { Place } from '../http/context.ts'
import { releaseChunk } from '../http/memory.ts'
import { messageOf, RequestError } from '../inference/errors.ts'

const DECODERS = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  br: createBrotliDecompress,
}

export function tooLarge(maxBytes: number): RequestError {
  return new RequestError(
    413,
    `the body is larger than the ${maxBytes} bytes of MAX_UPLOAD_MB: send less at once`,
  )
}

/** @throws RequestError 413 at once when the announced length is over the limit */
export function checkLength(req: IncomingMessage, maxBytes: number): void {
  if (Number(req.headers['content-length'] ?? 0) > maxBytes) throw tooLarge(maxBytes)
}

/** Where bytes that are kept count, see `Place`. */
export type Keeper = Pick<Place, 'take' | 'hold'>

/**
 * Collect a body, decompressed if Content-Encoding says so.
 *
 * @param maxBytes the limit, counted after decompression
 * @throws RequestError 413 too large, 415 unknown Content-Encoding, 400 not valid in that encoding or cut off, and what
 * `take` throws
 */
export async function readBody(
  req: IncomingMessage,
  maxBytes: number,
  place?: Keeper,
): Promise<Buffer<ArrayBuffer>> {
  checkLength(req, maxBytes)
  const encoding = (req.headers['content-encoding'] || 'identity').toLowerCase()
  if (encoding === 'identity') return collect(req, maxBytes, place)
  if (!Object.hasOwn(DECODERS, encoding)) {
    throw new RequestError(
      415,
      `Content-Encoding ${JSON.stringify(encoding)} is not known: send gzip, deflate, br or none`,
    )
  }
  const decoder = DECODERS[encoding as keyof typeof DECODERS]()
  req.on('error', (error) => decoder.destroy(error)).pipe(decoder)
  try {
    return await collect(decoder, maxBytes, place)
  } catch (error) {
    if (error instanceof RequestError && error.status !== 400) throw error
    throw new RequestError(400, `the body is not valid ${encoding}: ${messageOf(error)}`)
  } finally {
    req.unpipe(decoder).resume() // what is still to come is read and dropped, so that the answer can be sent
    decoder.destroy()
  }
}

/** All of a stream in one aligned buffer; past the limit the rest is read and dropped. */
export function collect(stream: Readable, maxBytes: number, place?: Keeper): Promise<Buffer<ArrayBuffer>> {
  return new Promise((resolve, reject) => {
    let chunks: Buffer[] = []
    let total = 0
    let isRefused = false
    stream.on('data', (chunk: Buffer) => {
      if (isRefused) return releaseChunk(chunk)
      try {
        total += chunk.length
        if (total > maxBytes) throw tooLarge(maxBytes)
        place?.take(chunk.length)
        chunks.push(chunk)
      } catch (error) {
        isRefused = true
        chunks = []
        reject(error)
      }
    })
    stream.on('end', () => {
      const all = join(chunks, total)
      chunks.forEach(releaseChunk)
      place?.hold(all.buffer)
      resolve(all)
    })
    stream.on('error', (error) =>
      reject(new RequestError(400, `the body cannot be read: ${messageOf(error)}`)),
    )
    stream.on('close', () => {
      if (!stream.readableEnded) reject(new RequestError(400, 'the body ended before it was complete'))
    })
  })
}

/** Buffer.concat into memory of its own, so that the bytes can be seen as float32 without another copy. */
export function join(chunks: readonly Buffer[], total: number): Buffer<ArrayBuffer> {
  const all = Buffer.from(new ArrayBuffer(total))
  let offset = 0
  for (const chunk of chunks) {
    chunk.copy(all, offset)
    offset += chunk.length
  }
  return all
}
