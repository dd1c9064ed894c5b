/** Opens image files: with our own decoders if they support them, else with sharp. Only this file knows both. */
import { FORMATS, type ImageFormat, imageFormat, otherFormat } from './decode/format.ts'
import { openGeneral } from './decode/general.ts'
import { type ImageSource, sourceOf } from './decode/image_source.ts'
import { openJpeg } from './decode/jpeg/jpeg.ts'
import { openPng } from './decode/png.ts'
import { UnsupportedImage } from './decode/unsupported.ts'
import { ImageError } from './errors.ts'
import type { Pixels, Size } from './pixels.ts'
import type { Recipe } from './recipe.ts'
import { type Plan, planOf } from './resample/geometry.ts'
import { shapePixels } from './shape.ts'

export interface Limits {
  /** largest width x height, of the image and of what it becomes on the way to the tensor */
  maxPixels: number
}

/** No side of an image is longer, in pixels; JPEG cannot express more. */
export const MAX_SIDE = 65_535

/**
 * Maximum samples in all scans of a JPEG file together, in multiples of `maxPixels`. Ordinary progressive files have 6 to 24
 * times their pixels; the slowest file of 30 times 50 megapixels takes libjpeg 2.5 seconds in RGB, 4 in CMYK.
 */
export const MAX_SCANNED_PLANES = 30

/** AVIF may have this share of `maxPixels`: libheif takes 25 bytes per pixel, libvips' other loaders up to 15. */
const AVIF_SHARE = 0.6

/** An image whose header has been read, and whose cost is within the limits. */
interface OpenImage<Result> {
  /** width x height, of the image or of what it becomes on the way to the tensor, whichever is more */
  pixels: number
  /** Decode and apply the recipe's geometry: the 8-bit pixels that the model sees, just before rescaling. */
  toPixels(): Result
}

/**
 * Open a common JPEG or PNG file with our own decoders: synchronously, without sharp, with the same bits.
 *
 * @returns undefined for a file that they do not support; `toPixels` returns undefined if it turns out to be damaged
 * @throws ImageError, but not 'broken': `openImage` decides
 */
export function openFast(
  bytes: Uint8Array,
  recipe: Recipe,
  limits: Limits,
): OpenImage<Pixels | undefined> | undefined {
  const format = requireFormat(bytes)
  const source = unlessUnsupported(() => openSource(bytes, format))
  if (!source) return undefined
  const plan = checkedPlan(source, recipe, limits)
  return {
    pixels: costOf(source, plan),
    toPixels: () => unlessUnsupported(() => shapePixels(source, recipe, plan)),
  }
}

/**
 * Open any image file.
 *
 * @param bytes of a JPEG, PNG, WebP, GIF, AVIF or TIFF file; the first image, if it has several
 * @throws ImageError, also from `toPixels`
 */
export async function openImage(
  bytes: Uint8Array,
  recipe: Recipe,
  limits: Limits,
): Promise<OpenImage<Promise<Pixels>>> {
  const fast = openFast(bytes, recipe, limits)
  if (fast) return { ...fast, toPixels: async () => fast.toPixels() ?? (await openWithSharp()).toPixels() }
  return openWithSharp()

  async function openWithSharp() {
    const image = await openGeneral(bytes, requireFormat(bytes))
    if (imageFormat(bytes) === 'avif') checkAvif(image, limits)
    const plan = checkedPlan(image, recipe, limits, image.scannedPlanes)
    const toPixels = async () => shapePixels(sourceOf(await image.decode()), recipe, plan)
    return { pixels: costOf(image, plan), toPixels }
  }
}

/** @throws UnsupportedImage */
function openSource(bytes: Uint8Array, format: ImageFormat): ImageSource | undefined {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  if (format === 'jpeg') return openJpeg(file)
  return format === 'png' ? openPng(file) : undefined
}

function unlessUnsupported<Result>(work: () => Result): Result | undefined {
  try {
    return work()
  } catch (error) {
    if (error instanceof UnsupportedImage) return undefined
    throw error
  }
}

function requireFormat(bytes: Uint8Array): ImageFormat {
  const format = imageFormat(bytes)
  if (format && format !== 'heic') return format
  const other = otherFormat(bytes)
  const what = other ? `is ${other}, which is not supported` : 'is not in a known format'
  throw new ImageError('unsupported', `the image ${what}: send ${FORMATS}`)
}

function costOf({ width, height }: Size, { intermediate }: Plan): number {
  return Math.max(width * height, intermediate.width * intermediate.height)
}

/** The plan for an image, if its cost is within the limits. */
function checkedPlan(size: Size, recipe: Recipe, { maxPixels }: Limits, scannedPlanes = 0): Plan {
  const { width, height } = size
  const pixels = width * height
  const tooLarge = (message: string) => new ImageError('too-large', `the image ${message}`)
  if (Math.max(width, height) > MAX_SIDE)
    throw tooLarge(`is ${width}x${height}; the longest side allowed is ${MAX_SIDE}: send a smaller one`)
  if (pixels > maxPixels) throw tooLarge(`has ${compare(pixels, maxPixels)}: send a smaller one`)
  const plan = planOf(size, recipe)
  const { intermediate } = plan
  const cost = costOf(size, plan)
  if (cost > maxPixels) {
    const becomes = `${intermediate.width}x${intermediate.height} pixels on the way to the model`
    const fix = 'send one with a less extreme aspect ratio'
    throw tooLarge(`of ${width}x${height} becomes ${becomes}, ${compare(cost, maxPixels)}: ${fix}`)
  }
  const maxPlanes = Math.floor((MAX_SCANNED_PLANES * maxPixels) / pixels)
  if (scannedPlanes <= maxPlanes) return plan
  const scans = `${scannedPlanes} scans of ${inMegapixels(pixels)} megapixels`
  const message = `the JPEG file has ${scans}; the limit is ${maxPlanes}: save it as baseline JPEG`
  throw new ImageError('too-complex', message)
}

function checkAvif({ width, height }: Size, { maxPixels }: Limits): void {
  const [pixels, limit] = [width * height, Math.floor(maxPixels * AVIF_SHARE)]
  if (pixels <= limit) return
  const allowed = `${inMegapixels(limit)}, ${AVIF_SHARE} x MAX_PIXELS`
  const message = `the AVIF file has ${inMegapixels(pixels)} megapixels; the limit for AVIF is ${allowed}: send a JPEG or PNG`
  throw new ImageError('too-large', message)
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
