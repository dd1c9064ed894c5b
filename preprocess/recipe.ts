/**
 * What happens between 8-bit pixels and the tensor: resize, crop or pad, scale, normalise, planes.
 *
 * The formulas are those of transformers' image processors (PIL and NumPy) and torchvision's transforms on
 * PIL images; given the same pixels the tensor is theirs bit for bit.
 */
import { RequestError } from '../lib/inference/errors.ts'
import type { AnySpec, Dtype } from '../lib/inference/tensor.ts'
import { asPicture, type Box, crop, type Picture, type Pixels, turnedSize, wholeOf } from './pixels.ts'
import { type Filter, resize } from './resample.ts'
import { mapRows } from './wasm/pixel_kernel.ts'

/** How large the image becomes, in pixels. */
export type Resize = { filter: Filter } & (
  | {
      /** squashed to exactly this size */
      to: 'size'
      width: number
      height: number
    }
  | {
      /** the shorter side becomes `edge`, the longer keeps the ratio but does not exceed `longest` */
      to: 'shortest edge'
      edge: number
      longest?: number
    }
  | {
      /** timm's ResizeKeepRatio: as large as fits into this size, or as small as covers it */
      to: 'fit' | 'cover'
      width: number
      height: number
    }
)

export interface Crop {
  width: number
  height: number
  /** whose rounding: where the margins are odd, transformers and torchvision differ by a pixel */
  centring: 'transformers' | 'torchvision'
  /** levels of the border where the image is smaller, one for all channels or one for each */
  fill: number[]
}

/** Everything that is done to an image, in this order; plain data, so that it can be sent to a thread. */
export interface Recipe {
  /** 1 = grey (ITU-R 601 luma, taken before the resize), 3 = colour */
  channels: 1 | 3
  resize?: Resize
  /** cut from the centre, or padded around */
  crop?: Crop
  /** level * factor, in double, rounded to float32, plus offset; absent: the levels 0 to 255 */
  rescale?: { factor: number; offset: number }
  /** (value - mean) / std in float32, one number per channel; EfficientNet does it twice */
  normalize: { mean: number[]; std: number[] }[]
  /** the planes go blue, green, red */
  isBgr?: boolean
  /** of the tensor */
  dtype: Dtype
}

/** The luma of Pillow's `convert("L")`, from interleaved RGB. */
function toGrey(picture: Picture): Picture {
  const { turn } = picture
  const { width, height } = turnedSize(picture, turn)
  const grey = mapRows(
    {
      strips: picture.strips(wholeOf({ width, height })),
      rowBytes: width * 3,
      to: new Uint8Array(width * height),
      toRowBytes: width,
    },
    (kernel, { source, rows, out }) => kernel.luma(source, rows * width, out),
  )
  return asPicture({ data: grey, width, height, channels: 1 }, turn)
}

/** The size that every image gets; undefined where it depends on the image. */
export function fixedSize({ crop, resize }: Recipe): { width: number; height: number } | undefined {
  return crop ?? (resize?.to === 'size' ? resize : undefined)
}

/**
 * The dims of one sample, without the batch axis.
 *
 * @returns the graph's; where it leaves them open, those that the recipe makes, or 1 without a recipe
 */
export function sampleDims({ dims }: AnySpec, recipe: Recipe | undefined): number[] {
  const size = recipe && fixedSize(recipe)
  const open = [recipe?.channels ?? 1, size?.height ?? 224, size?.width ?? 224]
  return dims.slice(1).map((dim, axis) => (typeof dim === 'number' ? dim : recipe ? open[axis] : 1))
}

/** The size that a resize gives an image of width x height, as [width, height]. */
function resizedSize(rule: Resize | undefined, width: number, height: number): [number, number] {
  if (!rule) return [width, height]
  if (rule.to === 'size') return [rule.width, rule.height]
  if (rule.to === 'shortest edge') return shortestEdgeSize(rule.edge, rule.longest, width, height)
  // timm.data.transforms.ResizeKeepRatio.get_params
  const choose = rule.to === 'fit' ? Math.max : Math.min
  const ratio = choose(height / rule.height, width / rule.width)
  return [atLeastOne(roundHalfEven(width / ratio)), atLeastOne(roundHalfEven(height / ratio))]
}

/** transformers' get_size_with_aspect_ratio, and torchvision's Resize(edge), which has no longest edge. */
function shortestEdgeSize(
  edge: number,
  longest: number | undefined,
  width: number,
  height: number,
): [number, number] {
  const [short, long] = width < height ? [width, height] : [height, width]
  let shorter = edge
  let exact = edge
  if (longest !== undefined && (long / short) * edge > longest) {
    exact = (longest * short) / long
    shorter = atLeastOne(roundHalfEven(exact))
  }
  // one multiplication, one division, cut off: Python's int(edge * long / short)
  const longer = short === shorter ? long : atLeastOne(Math.trunc((exact * long) / short))
  return width < height ? [shorter, longer] : [longer, shorter]
}

function atLeastOne(size: number): number {
  return Math.max(1, size)
}

/** Python's `round`. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value)
  const rest = value - floor
  if (rest !== 0.5) return Math.round(value)
  return floor % 2 === 0 ? floor : floor + 1
}

/** Along one axis: which samples of the image are kept, and where they lie in the result. */
interface Span {
  from: number
  length: number
  offset: number
}

/** Cut in the middle, or pad around. */
function centre(size: number, wanted: number, centring: Crop['centring']): Span {
  const isTransformers = centring === 'transformers'
  if (wanted > size) {
    const margin = (wanted - size) / 2
    return { from: 0, length: size, offset: isTransformers ? Math.ceil(margin) : Math.floor(margin) }
  }
  const margin = (size - wanted) / 2
  return { from: isTransformers ? Math.floor(margin) : roundHalfEven(margin), length: wanted, offset: 0 }
}

/** Paste the pixels into a picture of the crop's size, filled with its border. */
function pad(source: Pixels, left: number, top: number, { width, height, fill }: Crop): Pixels {
  const isFlat = fill.every((level) => level === fill[0])
  const { data: from, channels } = isFlat ? source : toColour(source)
  const data = new Uint8Array(width * height * channels)
  for (let i = 0; i < data.length; i++) data[i] = fill[isFlat ? 0 : i % channels]
  for (let y = 0; y < source.height; y++) {
    const row = from.subarray(y * source.width * channels, (y + 1) * source.width * channels)
    data.set(row, ((top + y) * width + left) * channels)
  }
  return { data, width, height, channels }
}

function toColour(pixels: Pixels): Pixels {
  if (pixels.channels === 3) return pixels
  const data = new Uint8Array(pixels.data.length * 3)
  for (let i = 0; i < data.length; i++) data[i] = pixels.data[Math.floor(i / 3)]
  return { ...pixels, data, channels: 3 }
}

/**
 * The 8-bit picture that the model gets to see: grey if it wants grey, resized, cropped or padded.
 * An image without colour stays at one channel; `toPlanes` repeats it.
 *
 * @param maxPixels largest width x height, of the result and on the way to it
 * @throws RequestError 413 when it becomes larger on the way
 */
export function shapePixels(image: Picture, recipe: Recipe, maxPixels: number): Pixels {
  const source = recipe.channels === 1 && image.channels === 3 ? toGrey(image) : image
  const { resize: rule, crop: frame } = recipe
  const [width, height] = resizedSize(rule, source.width, source.height)
  const x = frame ? centre(width, frame.width, frame.centring) : { from: 0, length: width, offset: 0 }
  const y = frame ? centre(height, frame.height, frame.centring) : { from: 0, length: height, offset: 0 }
  // the resize goes along x first: there it has the height of the image
  const rows = rule ? Math.max(source.height, y.length) : y.length
  if (x.length * rows > maxPixels) {
    const detail = `the image of ${source.width}x${source.height} becomes ${x.length}x${rows} pixels on the way`
    throw new RequestError(
      413,
      `${detail}, more than the ${maxPixels} of MAX_PIXELS: send one that is not so narrow`,
    )
  }
  const box: Box = { left: x.from, top: y.from, width: x.length, height: y.length }
  const kept = rule ? resize(source, width, height, rule.filter, box) : crop(source, box)
  if (!frame || (kept.width === frame.width && kept.height === frame.height)) return kept
  return pad(kept, x.offset, y.offset, frame)
}

/** The value of each of the 256 levels in one channel of the tensor, rounded where NumPy rounds. */
function levels({ rescale, normalize }: Recipe, channel: number): Float32Array {
  const { fround } = Math
  return Float32Array.from({ length: 256 }, (_, level) => {
    let value = rescale ? fround(fround(level * rescale.factor) + rescale.offset) : level
    for (const { mean, std } of normalize)
      value = fround(fround(value - fround(mean[channel])) / fround(std[channel]))
    return value
  })
}

/**
 * Pixels to planes: numbers of shape [channels, height, width].
 *
 * @param pixels what `shapePixels` gave
 */
export function toPlanes(pixels: Pixels, recipe: Recipe): Float32Array {
  const { data, width, height, channels } = pixels
  const planes = new Float32Array(recipe.channels * width * height)
  const bytes = new Uint8Array(planes.buffer)
  const [rowBytes, planeBytes] = [width * channels, width * height * 4]
  for (let c = 0; c < recipe.channels; c++) {
    const at = (recipe.isBgr ? recipe.channels - 1 - c : c) * planeBytes
    const first = channels === 1 ? 0 : c
    mapRows(
      {
        strips: [data],
        rowBytes,
        to: bytes.subarray(at, at + planeBytes),
        toRowBytes: width * 4,
        tables: [levels(recipe, c)],
      },
      (kernel, { source, rows, out }, [table]) =>
        kernel.plane(source + first, rows * width, channels, table, out),
    )
  }
  return planes
}
