/** From an image source to the 8-bit image that the model sees: grey or RGB, resized, cropped, padded. */

import { type ImageSource, sourceOf } from './decode/image_source.ts'
import { orientSize } from './orientation.ts'
import type { Pixels } from './pixels.ts'
import type { Crop, Recipe } from './recipe.ts'
import type { Plan } from './resample/geometry.ts'
import { resize } from './resample/resize.ts'
import { mapRows } from './wasm/pixel_kernel.ts'

/**
 * The image just before rescaling. A grey image keeps its single channel for a model of three: `toTensor` repeats it.
 *
 * @returns pixels of the size that the recipe makes of the image
 */
export function shapePixels(image: ImageSource, recipe: Recipe, { first, resized, x, y }: Plan): Pixels {
  const { backend = 'pil', isPillow13, greyAfterResize } = recipe
  const opaque = recipe.alpha === 'white' ? whitened(image) : image
  const part = first ? sourceOf(resize(opaque, opaque, { filter: 'nearest', backend }, first)) : opaque
  const isGrey = recipe.channels === 1 && part.channels === 3
  const source = isGrey && !greyAfterResize ? toGrey(part) : part
  const sampling = { filter: recipe.resize?.filter ?? 'nearest', backend, isPillow13 }
  const box = { left: x.from, top: y.from, width: x.length, height: y.length }
  let kept = resize(source, resized, sampling, box)
  if (recipe.channels === 1 && greyAfterResize) kept = lateGrey(kept, backend === 'pil' ? pilLuma : torchLuma)
  const frame = recipe.crop
  if (!frame || (kept.width === frame.width && kept.height === frame.height)) return kept
  return pad(kept, x.offset, y.offset, frame)
}

/** Replace the transparent colour with white. */
function whitened({ transparent, ...image }: ImageSource): ImageSource {
  if (!transparent) return image
  const { channels } = image
  return {
    ...image,
    *rowChunks(box) {
      for (const chunk of image.rowChunks(box)) {
        for (let i = 0; i < chunk.length; i += channels)
          if (transparent.every((level, c) => chunk[i + c] === level)) chunk.fill(255, i, i + channels)
        yield chunk
      }
    },
  }
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

/** The grey of a resized image; one that was grey before has three equal channels, as after `convert("RGB")`. */
function lateGrey(pixels: Pixels, luma: (r: number, g: number, b: number) => number): Pixels {
  const { data: rgb } = toRgb(pixels)
  const data = Uint8Array.from({ length: rgb.length / 3 }, (_, i) =>
    luma(rgb[i * 3], rgb[i * 3 + 1], rgb[i * 3 + 2]),
  )
  return { ...pixels, data, channels: 1 }
}

function pilLuma(r: number, g: number, b: number): number {
  return (19595 * r + 38470 * g + 7471 * b + 2 ** 15) >> 16
}

/** torchvision's `rgb_to_grayscale` of uint8: float32 with fused multiply-add, truncated. */
function torchLuma(r: number, g: number, b: number): number {
  const { fround } = Math
  const red = fround(r * fround(0.2989))
  return fround(fround(red + g * fround(0.587)) + b * fround(0.114))
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
