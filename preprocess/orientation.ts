/** EXIF orientation: how stored rows map to displayed rows. */
import type { Pixels, Size } from './pixels.ts'

/**
 * The displayed pixel (x, y) is stored at (x', y'), where x' counts from the right under `flipX` and y' from the
 * bottom under `flipY`; under `swapAxes` it is stored at (y', x').
 */
export interface Orientation {
  swapAxes: boolean
  flipX: boolean
  flipY: boolean
}

export const UPRIGHT: Orientation = { swapAxes: false, flipX: false, flipY: false }

/** @param value of the EXIF tag, 1 to 8 (Exif 2.3, 4.6.4) */
export function orientationOf(value: number): Orientation {
  return { swapAxes: value > 4, flipX: [2, 3, 6, 7].includes(value), flipY: [3, 4, 7, 8].includes(value) }
}

/** The displayed size of a stored one, and the stored size of a displayed one. */
export function orientSize({ width, height }: Size, { swapAxes }: Orientation): Size {
  return swapAxes ? { width: height, height: width } : { width, height }
}

/** Stored pixels in displayed order. */
export function orientPixels(stored: Pixels, orientation: Orientation): Pixels {
  const { swapAxes, flipX, flipY } = orientation
  if (!swapAxes && !flipX && !flipY) return stored
  const { channels } = stored
  const { width, height } = orientSize(stored, orientation)
  const data = new Uint8Array(stored.data.length)
  let end = 0
  for (let y = 0; y < height; y++) {
    const down = flipY ? height - 1 - y : y
    for (let x = 0; x < width; x++) {
      const across = flipX ? width - 1 - x : x
      const from = (swapAxes ? across * height + down : down * width + across) * channels
      for (let c = 0; c < channels; c++) data[end++] = stored.data[from + c]
    }
  }
  return { data, width, height, channels }
}
