/** PNG files that no encoder would write. */
import { crc32, deflateSync } from 'node:zlib'

export const SIGNATURE = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1')

/** red, green and blue of 256 colours, none twice */
const PALETTE = Uint8Array.from({ length: 768 }, (_, i) => [i / 3, 255 - i / 3, (i / 3) * 7][i % 3])

export interface Png {
  width: number
  height: number
  colourType: number
  /** rows of a filter type and any bytes */
  filtered: Uint8Array
}

/** Departures from an ordinary file. */
export interface Odd {
  depth?: number
  interlacing?: number
  /** chunks before the data */
  extra?: Buffer
  palette?: Uint8Array
  /** replaces the compressed rows */
  data?: Buffer
}

export function chunk(name: string, body: Uint8Array): Buffer {
  const bytes = Buffer.alloc(12 + body.length)
  bytes.writeUInt32BE(body.length)
  bytes.write(name, 4, 'latin1')
  bytes.set(body, 8)
  bytes.writeUInt32BE(crc32(bytes.subarray(4, -4)), 8 + body.length)
  return bytes
}

export function pngFile({ width, height, colourType, filtered }: Png, odd: Odd = {}): Buffer {
  const { depth = 8, interlacing = 0, extra = Buffer.alloc(0), palette = PALETTE } = odd
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([depth, colourType, 0, 0, interlacing], 8)
  const data = odd.data ?? deflateSync(filtered)
  const half = data.length >> 1 // in two chunks, as encoders of large files do
  return Buffer.concat([
    SIGNATURE,
    chunk('IHDR', header),
    ...(colourType === 3 ? [chunk('PLTE', palette)] : []),
    extra,
    chunk('IDAT', data.subarray(0, half)),
    chunk('IDAT', data.subarray(half)),
    chunk('IEND', Buffer.alloc(0)),
  ])
}
