/** PNG files of 8-bit grey or RGB pixels (RFC 2083). */
import { crc32, deflateSync } from 'node:zlib'
import type { Pixels } from './pixels.ts'

const SIGNATURE = Buffer.from('\x89PNG\r\n\x1a\n', 'latin1')
const GREY = 0
const RGB = 2

/** @returns the file, with the pixels unchanged */
export function encodePng({ data, width, height, channels }: Pixels): Uint8Array {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([8, channels === 1 ? GREY : RGB], 8)
  const rowBytes = width * channels
  const rows = new Uint8Array(height * (1 + rowBytes)) // each row begins with its filter: 0, none
  for (let y = 0; y < height; y++)
    rows.set(data.subarray(y * rowBytes, (y + 1) * rowBytes), y * (1 + rowBytes) + 1)
  return new Uint8Array(
    Buffer.concat([SIGNATURE, chunk('IHDR', header), chunk('IDAT', deflateSync(rows)), chunk('IEND')]),
  )
}

function chunk(name: string, body: Uint8Array = new Uint8Array()): Buffer {
  const bytes = Buffer.alloc(12 + body.length)
  bytes.writeUInt32BE(body.length)
  bytes.write(name, 4, 'latin1')
  bytes.set(body, 8)
  bytes.writeUInt32BE(crc32(bytes.subarray(4, -4)), 8 + body.length)
  return bytes
}
