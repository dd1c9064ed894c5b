/** Image bytes to the tensor that the model was trained on. */
import { openFast } from './decode/fast.ts'
import { FORMATS, imageFormat } from './decode/format.ts'
import { openGeneral } from './decode/general.ts'
import { sourceOf } from './decode/image_source.ts'
import { encodePng } from './encode_png.ts'
import { ImageError } from './errors.ts'
import { type Limits, limitError } from './limits.ts'
import type { Pixels } from './pixels.ts'
import type { Recipe } from './recipe.ts'
import { shapePixels } from './shape.ts'
import { type ImageTensor, toTensor } from './tensor.ts'

/**
 * Why the fast decoders returned nothing. 'large': they support the file, but it exceeds the limits. 'general': they do not
 * support it, or it is damaged; `preprocess` decides.
 */
export type NotFast = 'large' | 'general'

/**
 * Decode an image file and apply a recipe, bit for bit as Pillow and NumPy do in Python.
 *
 * @param bytes of a JPEG, PNG, WebP, GIF, AVIF or TIFF file; the first image, if it has several
 * @returns [1, channels, height, width], float32, or uint8 levels for a model that takes integers
 * @throws ImageError
 */
export async function preprocess(bytes: Uint8Array, recipe: Recipe, limits: Limits): Promise<ImageTensor> {
  return toTensor(await shape(bytes, recipe, limits), recipe)
}

/**
 * The 8-bit picture that the model sees, just before rescaling: decoded, resized and cropped.
 *
 * @returns a PNG file, grey or RGB
 * @throws ImageError
 */
export async function preview(bytes: Uint8Array, recipe: Recipe, limits: Limits): Promise<Uint8Array> {
  return encodePng(await shape(bytes, recipe, limits))
}

/**
 * `preprocess`, as far as our own JPEG and PNG decoders can do it: synchronous, without sharp, and the same bits.
 *
 * @throws ImageError 'unsupported', if the bytes are of no known format
 */
export function preprocessFast(bytes: Uint8Array, recipe: Recipe, limits: Limits): ImageTensor | NotFast {
  const pixels = shapeFast(bytes, recipe, limits)
  return typeof pixels === 'string' ? pixels : toTensor(pixels, recipe)
}

/** `preview`, likewise. */
export function previewFast(bytes: Uint8Array, recipe: Recipe, limits: Limits): Uint8Array | NotFast {
  const pixels = shapeFast(bytes, recipe, limits)
  return typeof pixels === 'string' ? pixels : encodePng(pixels)
}

async function shape(bytes: Uint8Array, recipe: Recipe, limits: Limits): Promise<Pixels> {
  const pixels = shapeFast(bytes, recipe, limits)
  if (typeof pixels !== 'string') return pixels
  const image = await openGeneral(bytes)
  const error = limitError(image, image.scannedPlanes, recipe, limits)
  if (error) throw error
  return shapePixels(sourceOf(await image.decode()), recipe)
}

function shapeFast(bytes: Uint8Array, recipe: Recipe, limits: Limits): Pixels | NotFast {
  requireFormat(bytes)
  const source = openFast(bytes)
  if (!source) return 'general'
  if (limitError(source, 0, recipe, limits)) return 'large'
  const pixels = shapePixels(source, recipe)
  return source.isDamaged ? 'general' : pixels
}

function requireFormat(bytes: Uint8Array): void {
  const format = imageFormat(bytes)
  if (format !== undefined && format !== 'heic') return
  const what = format ? 'is HEIC, which is not decoded here' : 'does not start as an image file'
  throw new ImageError('unsupported', `the image ${what}: send ${FORMATS}`)
}
