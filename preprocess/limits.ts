/** What an image may cost, checked from its header before anything is decoded. */
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
 * Samples are decoded at most this many times `maxPixels`, in all scans of a JPEG file together. A usual progressive
 * file has 5 to 8 passes; at 50 megapixels the slowest file of 10 passes takes libjpeg about 3 seconds.
 */
export const MAX_PASSES = 10

/**
 * @param size of the displayed image
 * @param passes how often a decoder goes over its pixels
 * @returns what to throw for an image that costs too much
 */
export function limitError(
  size: Size,
  passes: number,
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
  if (passes * pixels <= MAX_PASSES * maxPixels) return undefined
  const message = `the JPEG file has scans for ${Math.round(passes)} passes over ${inMegapixels(pixels)} megapixels: save it as baseline JPEG`
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
