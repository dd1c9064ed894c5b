/** Progressive JPEG files of nearly empty scans: small, but slow to decode. */

export interface Scan {
  components: number[]
  /** first and last coefficient, and the successive approximation's high and low bit */
  band: [from: number, to: number]
  bits: [high: number, low: number]
}

function segment(marker: number, body: number[]): Buffer {
  const length = body.length + 2
  return Buffer.from([0xff, marker, length >> 8, length & 255, ...body])
}

/** A code of one bit, for one symbol. */
const codeOf = (symbol: number) => [1, ...new Array(15).fill(0), symbol]
/** End-of-band runs of 2^14 blocks and more. */
const RUN = 0xe0

/** All coefficients are 0: a mid-grey image. */
export function progressiveJpeg(width: number, height: number, components: number, scans: Scan[]): Buffer {
  const blocks = Math.ceil(width / 8) * Math.ceil(height / 8)
  const ids = Array.from({ length: components }, (_, i) => i + 1)
  const frame = [8, height >> 8, height & 255, width >> 8, width & 255, components]
  return Buffer.concat([
    Buffer.of(0xff, 0xd8),
    segment(0xdb, [0, ...new Array(64).fill(16)]),
    segment(0xc2, [...frame, ...ids.flatMap((id) => [id, 0x11, 0])]),
    segment(0xc4, [0x00, ...codeOf(0)]),
    segment(0xc4, [0x10, ...codeOf(RUN)]),
    ...scans.flatMap((scan) => {
      const [from, to] = scan.band
      const selectors = scan.components.flatMap((id) => [id, 0])
      const approximation = (scan.bits[0] << 4) | scan.bits[1]
      const header = segment(0xda, [scan.components.length, ...selectors, from, to, approximation])
      return [
        header,
        from === 0 ? Buffer.alloc(Math.ceil((blocks * scan.components.length) / 8)) : runs(blocks),
      ]
    }),
    Buffer.of(0xff, 0xd9),
  ])
}

function runs(blocks: number): Buffer {
  let bits = ''
  for (let done = 0; done < blocks; ) {
    const run = Math.min(2 ** 15 - 2, Math.max(2 ** 14, blocks - done))
    bits += `0${(run - 2 ** 14).toString(2).padStart(14, '0')}`
    done += run
  }
  const bytes = bits.match(/.{1,8}/g)!.map((byte) => Number.parseInt(byte.padEnd(8, '1'), 2))
  return Buffer.from(bytes.flatMap((byte) => (byte === 0xff ? [0xff, 0] : [byte])))
}
