/** The marker segments of a JPEG file (ITU-T T.81, annex B). */

// table B.1
export const DHT = 0xc4
export const DQT = 0xdb
export const DRI = 0xdd
export const SOS = 0xda
export const APP0 = 0xe0
export const APP1 = 0xe1
export const APP14 = 0xee
export const APP15 = 0xef
export const COM = 0xfe
/** frames: baseline and extended sequential; others are progressive, lossless or arithmetic */
export const SOF0 = 0xc0
export const SOF1 = 0xc1
const EOI = 0xd9
/** 0 is not a marker but stuffing in a scan's data; the others are TEM, RST0 to RST7 and SOI */
const WITHOUT_BODY = [0, 1, 0xd0, 0xd1, 0xd2, 0xd3, 0xd4, 0xd5, 0xd6, 0xd7, 0xd8]

export interface Segment {
  marker: number
  /** without the marker and the length */
  body: Buffer
  /** offsets of the marker, and of what follows the segment */
  start: number
  end: number
}

/** All segments with a body, up to the end of the image or a truncated segment; scan data are skipped. */
export function* segments(file: Buffer): Iterable<Segment> {
  for (let at = file.indexOf(0xff, 2); at >= 0 && at + 4 <= file.length; at = file.indexOf(0xff, at)) {
    const marker = file[at + 1]
    if (marker === EOI) return
    if (marker === 0xff) at++
    else if (WITHOUT_BODY.includes(marker)) at += 2
    else {
      const end = at + 2 + file.readUInt16BE(at + 2)
      if (end < at + 4 || end > file.length) return
      yield { marker, body: file.subarray(at + 4, end), start: at, end }
      at = end
    }
  }
}

/**
 * How many planes of samples all scans of a file cover together: 3 for baseline RGB, 14 for a typical progressive file.
 *
 * Scans can be nearly empty: a file of 200 kB can hold thousands of them, each over all of 50 megapixels.
 */
export function countScannedPlanes(file: Buffer): number {
  let planes = 0
  for (const { marker, body } of segments(file)) if (marker === SOS) planes += body[0] ?? 0
  return planes
}
