/**
 * What happens between 8-bit pixels and the tensor: resize, crop or pad, scale, normalise, planes.
 *
 * The formulas are those of transformers' image processors (PIL and NumPy) and torchvision's transforms on
 * PIL images; given the same pixels the tensor is theirs bit for bit.
 */
import { type Box, crop, type Filter, type Pixels, resize } from './resample.ts'

/** How large the image becomes, in pixels. */
export type Resize =
  /** squashed to exactly this size */
  | { to: 'size'; width: number; height: number; filter: Filter }
  /** the shorter side becomes `edge`, the longer keeps the ratio but does not exceed `longest` */
  | { to: 'shortest edge'; edge: number; longest?: number; filter: Filter }

/** Everything that is done to an image; plain data, so that it can be sent to a thread. */
export interface Recipe {
  /** 1 = grey (ITU-R 601 luma, taken before the resize), 3 = RGB */
  channels: 1 | 3
  resize?: Resize
  /** cut from the centre; zero-padded where the image is smaller */
  crop?: { width: number; height: number }
  /** value * factor, in double, rounded to float32 */
  rescale?: { factor: number }
  /** (value - mean) / std in float32, one number per channel */
  normalize?: { mean: number[]; std: number[] }
}

/** The luma of Pillow's `convert("L")`, from interleaved RGB. */
function toGrey({ data, width, height }: Pixels): Pixels {
  const grey = new Uint8Array(width * height)
  for (let i = 0, p = 0; i < grey.length; i++, p += 3) {
    grey[i] = (data[p] * 19595 + data[p + 1] * 38470 + data[p + 2] * 7471 + 32768) >> 16
  }
  return { data: grey, width, height, channels: 1 }
}

/** The size that a resize gives an image, as [width, height]. */
function resizedSize(rule: Resize, width: number, height: number): [number, number] {
  if (rule.to === 'size') return [rule.width, rule.height]
  const [short, long] = width < height ? [width, height] : [height, width]
  let edge = rule.edge
  if (rule.longest !== undefined && (long / short) * edge > rule.longest) {
    edge = roundHalfEven((rule.longest * short) / long)
  }
  // the product is exact, so that there is one rounding, as in Python's int(edge * long / short)
  const longer = Math.max(1, Math.trunc((edge * long) / short))
  return width < height ? [edge, longer] : [longer, edge]
}

/** Python's `round`. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value)
  const rest = value - floor
  if (rest !== 0.5) return Math.round(value)
  return floor % 2 === 0 ? floor : floor + 1
}

/** Where the image's first sample and the crop's lie along one axis: cut in the middle, or pad around. */
function centre(size: number, wanted: number): { from: number; length: number; offset: number } {
  if (wanted <= size) return { from: Math.floor((size - wanted) / 2), length: wanted, offset: 0 }
  return { from: 0, length: size, offset: Math.ceil((wanted - size) / 2) }
}

/** Paste the pixels into a black picture of width x height. */
function pad(source: Pixels, left: number, top: number, width: number, height: number): Pixels {
  const { channels } = source
  const data = new Uint8Array(width * height * channels)
  for (let y = 0; y < source.height; y++) {
    const row = source.data.subarray(y * source.width * channels, (y + 1) * source.width * channels)
    data.set(row, ((top + y) * width + left) * channels)
  }
  return { data, width, height, channels }
}

/**
 * The 8-bit picture that the model gets to see: grey if it wants grey, resized, cropped or padded.
 * An image without colour stays at one channel; `toPlanes` repeats it.
 */
export function shapePixels(image: Pixels, recipe: Recipe): Pixels {
  const source = recipe.channels === 1 && image.channels === 3 ? toGrey(image) : image
  const [width, height] = recipe.resize
    ? resizedSize(recipe.resize, source.width, source.height)
    : [source.width, source.height]
  const x = centre(width, recipe.crop?.width ?? width)
  const y = centre(height, recipe.crop?.height ?? height)
  const box: Box = { left: x.from, top: y.from, width: x.length, height: y.length }
  const kept = recipe.resize ? resize(source, width, height, recipe.resize.filter, box) : crop(source, box)
  if (!recipe.crop || (kept.width === recipe.crop.width && kept.height === recipe.crop.height)) return kept
  return pad(kept, x.offset, y.offset, recipe.crop.width, recipe.crop.height)
}

/** The value of each of the 256 grey levels in one channel of the tensor, rounded where NumPy rounds. */
function levels(recipe: Recipe, channel: number): Float32Array {
  const table = new Float32Array(256)
  const { rescale, normalize } = recipe
  for (let v = 0; v < 256; v++) {
    let value = rescale ? Math.fround(v * rescale.factor) : v
    if (normalize) {
      const centred = Math.fround(value - Math.fround(normalize.mean[channel]))
      value = Math.fround(centred / Math.fround(normalize.std[channel]))
    }
    table[v] = value
  }
  return table
}

/**
 * Pixels to planes: float32 of shape [channels, height, width].
 *
 * @param pixels what `shapePixels` gave
 */
export function toPlanes(pixels: Pixels, recipe: Recipe): Float32Array {
  const { data, width, height, channels } = pixels
  const size = width * height
  const planes = new Float32Array(size * recipe.channels)
  for (let c = 0; c < recipe.channels; c++) {
    const table = levels(recipe, c)
    const plane = planes.subarray(c * size, (c + 1) * size)
    for (let i = 0, p = channels === 1 ? 0 : c; i < size; i++, p += channels) plane[i] = table[data[p]]
  }
  return planes
}
