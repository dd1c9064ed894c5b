/** Recipes: all preprocessing steps between an image and the model, as plain data. */
import type { Size } from './pixels.ts'
import type { Filter } from './resample/filters.ts'

/**
 * The size of the resized image, in pixels. 'size': exactly this. 'fit' and 'cover', as timm's ResizeKeepRatio: the largest
 * that fits into this one, or the smallest that covers it. 'shortest edge': the shorter side becomes `edge`, the longer
 * keeps the ratio but does not exceed `longest`.
 */
export type Resize = { filter: Filter } & (
  | { to: 'size' | 'fit' | 'cover'; width: number; height: number }
  | { to: 'shortest edge'; edge: number; longest?: number; isRounded?: boolean; divisor?: number }
)

export interface Crop extends Size {
  /** whose rounding: where the margins are odd, transformers and torchvision differ by a pixel */
  centring: 'transformers' | 'torchvision'
  /** levels of the padding where the image is smaller: one for all channels, or one per channel */
  fill: number[]
}

/** The steps, in this order. Plain data: it can be sent to a thread or written to a file. */
export interface Recipe {
  /** 1 = grey (Pillow's ITU-R 601 luma, taken before the resize), 3 = RGB */
  channels: 1 | 3
  /** cut from the centre before the resize: these shares of the shorter side, 0 to 1 */
  cropFirst?: Size
  resize?: Resize
  /** cut from the centre, or padded around it */
  crop?: Crop
  /** float32(level * factor) + offset; absent: the levels 0 to 255 */
  rescale?: { factor: number; offset: number }
  /** (value - mean) / std in float32, one number per channel; EfficientNet normalizes twice */
  normalize: { mean: number[]; std: number[] }[]
  /** channels are in the order blue, green, red */
  isBgr?: boolean
  /** whose arithmetic: Pillow's and NumPy's (absent), or torchvision's on uint8 tensors */
  backend?: 'pil' | 'torchvision'
  /** resized in Pillow 13's order of axes; absent: in that of earlier versions, see `resize` */
  isPillow13?: boolean
  /** with torchvision: rescaled and normalized in one step, as transformers does; absent: as torchvision's v2 pipelines do */
  isFused?: boolean
  /** the grey of one channel is taken after the resize: Pillow's luma, or torchvision's `rgb_to_grayscale` */
  greyAfterResize?: boolean
  /**
   * The one colour that a PNG or GIF file can declare transparent stays (absent), or becomes white, as in those processors of
   * transformers that convert to RGB themselves. Alpha channels are dropped in either case, as by
   * transformers' `load_image`.
   */
  alpha?: 'drop' | 'white'
  /** the order of the tensor's axes; absent: nchw */
  layout?: 'nchw' | 'nhwc'
  /** of the tensor; uint8 = levels, neither rescaled nor normalized */
  dtype: 'float32' | 'uint8'
}

/** The size of every preprocessed image; undefined where it depends on the image. */
export function fixedSize({ crop, resize }: Recipe): Size | undefined {
  return crop ?? (resize?.to === 'size' ? resize : undefined)
}

/**
 * The dims of one sample of a model's input, without the batch axis.
 *
 * @param input dims as the graph declares them; the name of a symbolic dim is a string
 * @returns the graph's; symbolic ones as the recipe makes them (224 where that depends on the image), 1 without a recipe
 */
export function sampleDims(
  { dims }: { dims: readonly (number | string)[] },
  recipe: Recipe | undefined,
): number[] {
  const size = recipe && fixedSize(recipe)
  const [height, width] = [size?.height ?? 224, size?.width ?? 224]
  const made =
    recipe?.layout === 'nhwc' ? [height, width, recipe.channels] : [recipe?.channels, height, width]
  return dims.slice(1).map((dim, axis) => (typeof dim === 'number' ? dim : ((recipe && made[axis]) ?? 1)))
}

/** The steps in words, one line each. */
export function describeRecipe(recipe: Recipe): string[] {
  const { channels, cropFirst, resize, crop, rescale, normalize, dtype, layout = 'nchw' } = recipe
  const { backend = 'pil', isPillow13, isFused, isBgr, greyAfterResize, alpha = 'drop' } = recipe
  const toGrey = 'convert to grey (ITU-R 601)'
  const colours = channels === 1 && !greyAfterResize ? toGrey : 'convert to RGB'
  const steps = [`decode, apply the EXIF orientation, ${colours}, ${ALPHA[alpha]}`]
  if (cropFirst) {
    const [width, height] = [cropFirst.width, cropFirst.height].map((share) => `${(share * 100).toFixed(1)}%`)
    steps.push(`crop from the centre: width ${width}, height ${height} of the shorter side`)
  }
  const resizer = isPillow13 ? 'Pillow 13' : BACKENDS[backend]
  if (resize) steps.push(`resize ${describeTarget(resize)}, ${resize.filter}, as ${resizer} does`)
  if (greyAfterResize) steps.push(backend === 'pil' ? toGrey : 'convert to grey (torchvision)')
  if (crop) {
    const { width, height, centring, fill } = crop
    steps.push(`crop ${width}x${height} from the centre as ${centring} does, pad with ${fill}`)
  }
  if (rescale) steps.push(`multiply by ${rescale.factor}${rescale.offset ? `, add ${rescale.offset}` : ''}`)
  for (const [index, { mean, std }] of normalize.entries()) {
    const fused = isFused && index === 0 ? ' (fused with the line above)' : ''
    steps.push(`subtract ${mean.join(', ')}; divide by ${std.join(', ')}${fused}`)
  }
  const planes = channels === 1 ? 'grey' : isBgr ? 'blue, green, red' : 'red, green, blue'
  steps.push(`${layout === 'nhwc' ? 'channels last:' : 'planes of'} ${planes}, ${dtype}`)
  return steps
}

const ALPHA = { drop: 'drop alpha', white: 'drop alpha, a transparent colour to white' }
const BACKENDS = { pil: 'Pillow', torchvision: 'torchvision (uint8 tensors)' }

function describeTarget(resize: Resize): string {
  if (resize.to === 'shortest edge') {
    const { edge, longest, divisor = 1, isRounded } = resize
    const limit = longest === undefined ? '' : `, the longer at most ${longest}`
    const multiple = divisor === 1 ? '' : `, both up to a multiple of ${divisor}`
    return `the shorter side to ${edge}${limit}${isRounded ? ', the longer rounded' : ''}${multiple}`
  }
  const target = `${resize.width}x${resize.height}`
  return { size: `to ${target}`, fit: `to fit into ${target}`, cover: `to cover ${target}` }[resize.to]
}
