/** Turns image bytes into the tensor that the model was trained on. */
import { encodePng } from './encode_png.ts'
import { type Limits, openImage } from './open_image.ts'
import type { Recipe } from './recipe.ts'
import { type ImageTensor, toTensor } from './tensor.ts'

/**
 * Decode an image file and apply a recipe, bit for bit as Python does.
 *
 * @param bytes see `openImage`
 * @returns [1, channels, height, width] or channels last, float32, or uint8 levels for a model that takes integers
 * @throws ImageError
 */
export async function preprocess(bytes: Uint8Array, recipe: Recipe, limits: Limits): Promise<ImageTensor> {
  const image = await openImage(bytes, recipe, limits)
  return toTensor(await image.toPixels(), recipe)
}

/**
 * The 8-bit picture that the model sees, just before rescaling.
 *
 * @returns a PNG file, grey or RGB
 * @throws ImageError
 */
export async function preview(bytes: Uint8Array, recipe: Recipe, limits: Limits): Promise<Uint8Array> {
  const image = await openImage(bytes, recipe, limits)
  return encodePng(await image.toPixels())
}
