/** Small files that are expensive to decode: valid, within MAX_PIXELS, and as compressed as the format allows. */
import { createDeflate } from 'node:zlib'
import { pngFile } from '../test/preprocess/png_file.ts'
import { progressiveJpeg, type Scan } from '../test/preprocess/progressive.ts'

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
  const rowBytes = 1 + (width * CHANNELS[colourType] * bitDepth) / 8
  const data = await deflatedZeros(rowBytes * height)
  return pngFile({ width, height, colourType, filtered: new Uint8Array() }, { depth: bitDepth, data })
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

/** A grey image: one scan of means, then the same scan of all else again and again. The decoder visits every block in each. */
export function scansJpeg(width: number, height: number, scans: number): Buffer {
  const means: Scan = { components: [1], band: [0, 0], bits: [0, 0] }
  const rest: Scan = { components: [1], band: [1, 63], bits: [0, 0] }
  return progressiveJpeg(width, height, 1, [means, ...new Array(scans - 1).fill(rest)])
}
