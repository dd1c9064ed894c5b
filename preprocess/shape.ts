/** From an image source to the 8-bit image that the model sees: grey or RGB, resized, cropped, padded. */

import { type ImageSource, sourceOf } from './decode/image_source.ts'
import { orientSize } from './orientation.ts'
import type { Pixels } from './pixels.ts'
import type { Crop, Recipe } from './recipe.ts'
import type { Plan } from './resample/geometry.ts'
import { resize } from './resample/resize.ts'
import { mapRows } from './wasm/pixel_kernel.ts'

/**
 * The image just before rescaling. A grey image keeps its one channel for a model of three: `toTensor` repeats it.
 *
 * @returns pixels of the size that the recipe makes of the image
 */
export function shapePixels(image: ImageSource, recipe: Recipe, { first, resized, x, y }: Plan): Pixels {
  const part = first ? sourceOf(resize(image, image, 'box', first)) : image
  const source = recipe.channels === 1 && part.channels === 3 ? toGrey(part) : part
  const box = { left: x.from, top: y.from, width: x.length, height: y.length }
  const kept = resize(source, resized, recipe.resize?.filter ?? 'box', box)
  const frame = recipe.crop
  if (!frame || (kept.width === frame.width && kept.height === frame.height)) return kept
  return pad(kept, x.offset, y.offset, frame)
}

/** Pillow's `convert("L")`: (19595 R + 38470 G + 7471 B + 2^15) >> 16 (libImaging/Convert.c). */
function toGrey(image: ImageSource): ImageSource {
  const { width } = orientSize(image, image.orientation)
  return {
    ...image,
    channels: 1,
    rowChunks: (box) =>
      mapRows(
        { chunks: image.rowChunks(box), rowBytes: width * 3, outRowBytes: width },
        (kernel, rows, source, out) => kernel.luma(source, rows * width, out),
      ),
  }
}

/** Paste pixels into an image of the crop's size and fill, at (left, top). */
function pad(pixels: Pixels, left: number, top: number, { width, height, fill }: Crop): Pixels {
  const isGrey = fill.every((level) => level === fill[0])
  const { data: from, channels } = isGrey ? pixels : toRgb(pixels)
  const data = new Uint8Array(width * height * channels)
  for (let i = 0; i < data.length; i++) data[i] = fill[isGrey ? 0 : i % channels]
  for (let y = 0; y < pixels.height; y++) {
    const row = from.subarray(y * pixels.width * channels, (y + 1) * pixels.width * channels)
    data.set(row, ((top + y) * width + left) * channels)
  }
  return { data, width, height, channels }
}

/** A grey image as RGB of three equal channels. */
function toRgb(pixels: Pixels): Pixels {
  if (pixels.channels === 3) return pixels
  const data = new Uint8Array(pixels.data.length * 3)
  for (let i = 0; i < data.length; i++) data[i] = pixels.data[Math.floor(i / 3)]
  return { ...pixels, data, channels: 3 }
}
