/** From 8-bit pixels to the tensor: rescale, normalize, interleaved to planar unless the graph is channels-last. */
import { collect, type Pixels } from './pixels.ts'
import type { Recipe } from './recipe.ts'
import { mapRows } from './wasm/pixel_kernel.ts'

/** One preprocessed image: numbers in the order of the recipe's layout, `data.length` being the product of `dims`. */
export type ImageTensor = {
  data: Float32Array | Uint8Array
  /** [1, channels, height, width]; for the layout nhwc [1, height, width, channels] */
  dims: [1, number, number, number]
  dtype: 'float32' | 'uint8'
}

/**
 * @param pixels of `shapePixels`
 * @returns float32: rescaled and normalized; uint8: the levels 0 to 255
 */
export function toTensor(pixels: Pixels, recipe: Recipe): ImageTensor {
  const { width, height } = pixels
  const { dtype, channels, isBgr } = recipe
  const size = width * height
  const data = dtype === 'uint8' ? new Uint8Array(channels * size) : new Float32Array(channels * size)
  for (let c = 0; c < channels; c++) {
    const place = isBgr ? channels - 1 - c : c
    const plane = data.subarray(place * size, (place + 1) * size)
    const channel = pixels.channels === 1 ? 0 : c
    if (plane instanceof Uint8Array) copyLevels(pixels, channel, plane)
    else mapLevels(pixels, channel, levelValues(recipe, c), plane)
  }
  if (recipe.layout !== 'nhwc') return { data, dims: [1, channels, height, width], dtype }
  return { data: interleave(data, channels), dims: [1, height, width, channels], dtype }
}

/** Planes to pixels of `channels` numbers each. */
function interleave<Numbers extends Float32Array | Uint8Array>(planes: Numbers, channels: number): Numbers {
  const pixels = planes.slice() as Numbers
  const size = planes.length / channels
  for (let c = 0; c < channels; c++)
    for (let i = 0; i < size; i++) pixels[i * channels + c] = planes[c * size + i]
  return pixels
}

function copyLevels({ data, channels }: Pixels, channel: number, plane: Uint8Array): void {
  for (let i = 0; i < plane.length; i++) plane[i] = data[i * channels + channel]
}

function mapLevels(pixels: Pixels, channel: number, values: Float32Array, plane: Float32Array): void {
  const { data, width, channels } = pixels
  const chunks = mapRows(
    { chunks: [data], rowBytes: width * channels, outRowBytes: width * 4, tables: [values] },
    (kernel, rows, source, out, [table]) =>
      kernel.plane(source + channel, rows * width, channels, table, out),
  )
  collect(chunks, new Uint8Array(plane.buffer, plane.byteOffset, plane.byteLength))
}

/**
 * The value of each of the 256 levels in a channel, rounded to float32 after the same steps as in NumPy or PyTorch.
 *
 * transformers' torchvision backend fuses rescaling and the first normalization: it divides the mean and the standard
 * deviation by the factor instead (image_processing_backends.py, _fuse_mean_std_and_rescale_factor).
 */
function levelValues({ rescale, normalize, backend, isFused }: Recipe, channel: number): Float32Array {
  const { fround } = Math
  const { factor, offset } = rescale ?? { factor: 1, offset: 0 }
  const isTorch = backend === 'torchvision'
  const isOneStep = isTorch && isFused && offset === 0 && normalize.length > 0
  const scaled = isTorch ? fround(factor) : factor // NumPy multiplies in float64
  const values = new Float32Array(256)
  for (let level = 0; level < 256; level++)
    values[level] = isOneStep ? level : fround(level * scaled) + offset
  for (const [step, { mean, std }] of normalize.entries()) {
    const divisor = isOneStep && step === 0 ? fround(1 / factor) : 1
    const [m, s] = [fround(fround(mean[channel]) * divisor), fround(fround(std[channel]) * divisor)]
    for (let level = 0; level < 256; level++) values[level] = fround(values[level] - m) / s
  }
  return values
}
