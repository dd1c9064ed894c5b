/** Limits on the cost of an image, checked from its header before anything is decoded. */
import { ImageError } from './errors.ts'
import type { Size } from './pixels.ts'
import type { Recipe } from './recipe.ts'
import { planOf } from './resample/geometry.ts'

export interface Limits {
  /** largest width x height, of the image and of what it becomes on the way to the tensor */
  maxPixels: number
}

/** No side of an image is longer, in pixels; JPEG cannot express more. */
export const MAX_SIDE = 65_535

/**
 * Most samples in all scans of a JPEG file together, in multiples of `maxPixels`. Usual progressive files have 6 to 24
 * times their pixels; the slowest file of 30 times 50 megapixels takes libjpeg 2.5 seconds in RGB, 4 in CMYK.
 */
export const MAX_SCANNED_PLANES = 30

/**
 * @param size of the displayed image
 * @param scannedPlanes of a JPEG file, else 0
 * @returns the error for an image that costs too much
 */
export function limitError(
  size: Size,
  scannedPlanes: number,
  recipe: Recipe,
  limits: Limits,
): ImageError | undefined {
  const { maxPixels } = limits
  const { width, height } = size
  const pixels = width * height
  const tooLarge = (message: string) => new ImageError('too-large', message, { pixels })
  if (Math.max(width, height) > MAX_SIDE)
    return tooLarge(
      `the image is ${width}x${height}; the longest side allowed is ${MAX_SIDE}: send it smaller`,
    )
  if (pixels > maxPixels) return tooLarge(`the image has ${compare(pixels, maxPixels)}: send it smaller`)
  const { intermediate } = planOf(size, recipe)
  const shaped = intermediate.width * intermediate.height
  if (shaped > maxPixels) {
    const becomes = `${intermediate.width}x${intermediate.height} pixels on the way to the model`
    return tooLarge(
      `the image of ${width}x${height} becomes ${becomes}, ${compare(shaped, maxPixels)}: send one that is less narrow`,
    )
  }
  const mostPlanes = Math.floor((MAX_SCANNED_PLANES * maxPixels) / pixels)
  if (scannedPlanes <= mostPlanes) return undefined
  const message = `the JPEG file has ${scannedPlanes} scans of ${inMegapixels(pixels)} megapixels; the limit is ${mostPlanes}: save it as baseline JPEG`
  return new ImageError('too-complex', message, { pixels })
}

function compare(pixels: number, limit: number): string {
  const [has, allowed] = [inMegapixels(pixels), inMegapixels(limit)]
  if (has === allowed) return `${pixels} pixels; the limit is ${limit} (MAX_PIXELS)`
  return `${has} megapixels; the limit is ${allowed} (MAX_PIXELS)`
}

/** To three digits: 108, 12.2, 0.016. */
function inMegapixels(pixels: number): string {
  return String(Number((pixels / 1e6).toPrecision(3)))
}
