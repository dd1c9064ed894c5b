/** Small files that are expensive to decode: valid, within MAX_PIXELS, and as compressed as the format allows. */
import { crc32, createDeflate } from 'node:zlib'

// ---------------------------------------------------------------------------------------------------------- PNG

/** channels by PNG colour type */
const CHANNELS = { 0: 1, 2: 3, 6: 4 } as const

export interface PngShape {
  width: number
  height: number
  /** 0 grey, 2 RGB, 6 RGBA */
  colourType: keyof typeof CHANNELS
  bitDepth: 8 | 16
}

/** A black image, with about a thousandth as many bytes as pixels. */
export async function blackPng({ width, height, colourType, bitDepth }: PngShape): Promise<Buffer> {
  const header = Buffer.alloc(13)
  header.writeUInt32BE(width, 0)
  header.writeUInt32BE(height, 4)
  header.set([bitDepth, colourType, 0, 0, 0], 8)
  const rowBytes = 1 + (width * CHANNELS[colourType] * bitDepth) / 8
  return Buffer.concat([
    Buffer.from('\x89PNG\r\n\x1a\n', 'latin1'),
    pngChunk('IHDR', header),
    pngChunk('IDAT', await deflatedZeros(rowBytes * height)),
    pngChunk('IEND', Buffer.alloc(0)),
  ])
}

function pngChunk(type: string, data: Buffer): Buffer {
  const typed = Buffer.concat([Buffer.from(type, 'latin1'), data])
  const length = Buffer.alloc(4)
  length.writeUInt32BE(data.length)
  const checksum = Buffer.alloc(4)
  checksum.writeUInt32BE(crc32(typed))
  return Buffer.concat([length, typed, checksum])
}

async function deflatedZeros(count: number): Promise<Buffer> {
  const zeros = Buffer.alloc(2 ** 20)
  const deflate = createDeflate({ level: 9 })
  const chunks: Buffer[] = []
  const all = (async () => {
    for await (const chunk of deflate) chunks.push(chunk)
  })()
  for (let left = count; left > 0; left -= zeros.length) {
    const part = zeros.subarray(0, left)
    await new Promise<void>((resolve) => deflate.write(part, () => resolve()))
  }
  deflate.end()
  await all
  return Buffer.concat(chunks)
}

// --------------------------------------------------------------------------------------------------------- JPEG

/**
 * A progressive grey JPEG: one DC scan, then the same AC scan repeatedly. Each AC scan takes 76 bytes, and makes the
 * decoder visit every block of the image.
 */
export function scansJpeg(width: number, height: number, scans: number): Buffer {
  const blocks = Math.ceil(width / 8) * Math.ceil(height / 8)
  const frame = Buffer.from([8, 0, 0, 0, 0, 1, 1, 0x11, 0])
  frame.writeUInt16BE(height, 1)
  frame.writeUInt16BE(width, 3)
  // tables with a single code, '0': a DC difference of 0, and a run of 2^14 or more blocks without AC coefficients
  const dcTable = Buffer.from([0x00, 1, ...Array(15).fill(0), 0x00])
  const acTable = Buffer.from([0x10, 1, ...Array(15).fill(0), 0xe0])
  const acScan = Buffer.concat([
    jpegSegment(0xda, Buffer.from([1, 1, 0x00, 1, 63, 0])),
    endOfBlockRuns(blocks),
  ])
  return Buffer.concat([
    Buffer.from([0xff, 0xd8]),
    jpegSegment(0xdb, Buffer.from([0, ...Array(64).fill(1)])),
    jpegSegment(0xc2, frame),
    jpegSegment(0xc4, dcTable),
    jpegSegment(0xc4, acTable),
    jpegSegment(0xda, Buffer.from([1, 1, 0x00, 0, 0, 0])),
    Buffer.alloc(Math.ceil(blocks / 8)),
    ...Array.from({ length: scans }, () => acScan),
    Buffer.from([0xff, 0xd9]),
  ])
}

function jpegSegment(marker: number, data: Buffer): Buffer {
  const head = Buffer.from([0xff, marker, 0, 0])
  head.writeUInt16BE(data.length + 2, 2)
  return Buffer.concat([head, data])
}

/** Runs of 32,767 blocks: each is the code '0' followed by 14 ones. */
function endOfBlockRuns(blocks: number): Buffer {
  const bits = '011111111111111'.repeat(Math.ceil(blocks / 32_767))
  const padded = bits.padEnd(Math.ceil(bits.length / 8) * 8, '1')
  const bytes = padded.match(/.{8}/g)!.map((byte) => Number.parseInt(byte, 2))
  return Buffer.from(bytes.flatMap((byte) => (byte === 0xff ? [0xff, 0] : [byte])))
}
