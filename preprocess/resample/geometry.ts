/** Sizes and margins of resize and crop, with the rounding of transformers, torchvision and timm. */
import type { Box, Size } from '../pixels.ts'
import type { Crop, Recipe, Resize } from '../recipe.ts'

/** Along one axis: the samples of the resized image that are kept, and where they go in the result. */
interface Span {
  from: number
  length: number
  offset: number
}

/** The resize and crop of an image of a certain size. */
export interface Plan {
  /** the part of the image that is resized; absent: all of it */
  first?: Box
  /** the resized image */
  resized: Size
  /** the part of it that is kept */
  x: Span
  y: Span
  /** the pixels between the two passes of the resize: as wide as the result, as high as the image */
  intermediate: Size
}

/** @param size of the displayed image */
export function planOf(image: Size, { cropFirst, resize, crop, backend }: Recipe): Plan {
  const first = cropFirst && shareOf(image, cropFirst)
  const size = first ?? image
  const resized = resizedSize(resize, size)
  const keepAll = (length: number): Span => ({ from: 0, length, offset: 0 })
  const x = crop ? centre(resized.width, crop.width, crop.centring, backend) : keepAll(resized.width)
  const y = crop ? centre(resized.height, crop.height, crop.centring, backend) : keepAll(resized.height)
  const height = resize ? Math.max(size.height, y.length) : y.length
  return { first, resized, x, y, intermediate: { width: x.length, height } }
}

/** PerceiverImageProcessor.center_crop: shares of the shorter side, from the centre. */
function shareOf(image: Size, share: Size): Box {
  const shorter = Math.min(image.width, image.height)
  const [width, height] = [share.width, share.height].map((part) => atLeastOne(Math.trunc(part * shorter)))
  const [left, top] = [(image.width - width) / 2, (image.height - height) / 2].map(Math.floor)
  return { left, top, width, height }
}

function resizedSize(rule: Resize | undefined, size: Size): Size {
  if (!rule) return size
  if (rule.to === 'size') return { width: rule.width, height: rule.height }
  if (rule.to === 'shortest edge') return shortestEdgeSize(rule, size)
  // timm.data.transforms.ResizeKeepRatio.get_params
  const choose = rule.to === 'fit' ? Math.max : Math.min
  const ratio = choose(size.height / rule.height, size.width / rule.width)
  const scale = (side: number) => atLeastOne(roundHalfEven(side / ratio))
  return { width: scale(size.width), height: scale(size.height) }
}

/** transformers' get_size_with_aspect_ratio, and torchvision's Resize(edge), which has no longest edge. */
function shortestEdgeSize(
  { edge, longest, isRounded, divisor = 1 }: Extract<Resize, { to: 'shortest edge' }>,
  size: Size,
): Size {
  const { width, height } = size
  const [short, long] = width < height ? [width, height] : [height, width]
  let shorter = edge
  let exact = edge
  if (longest !== undefined && (long / short) * edge > longest) {
    exact = (longest * short) / long
    shorter = atLeastOne(roundHalfEven(exact))
  }
  // Python's int(edge * long / short): the product is exact, the quotient truncated
  const exactLonger = short === shorter ? long : (exact * long) / short
  const longer = isRounded ? roundHalfEven(long * (edge / short)) : atLeastOne(Math.trunc(exactLonger))
  const [a, b] = [shorter, longer].map((side) => Math.ceil(side / divisor) * divisor)
  return width < height ? { width: a, height: b } : { width: b, height: a }
}

function atLeastOne(size: number): number {
  return Math.max(1, size)
}

/** Python's `round`. */
export function roundHalfEven(value: number): number {
  const floor = Math.floor(value)
  if (value - floor !== 0.5) return Math.round(value)
  return floor % 2 === 0 ? floor : floor + 1
}

/** Crop or pad an axis symmetrically. transformers pads the odd pixel before, except with torchvision. */
function centre(size: number, wanted: number, centring: Crop['centring'], backend: Recipe['backend']): Span {
  const isTransformers = centring === 'transformers'
  if (wanted > size) {
    const margin = (wanted - size) / 2
    const isBefore = isTransformers && backend !== 'torchvision'
    return { from: 0, length: size, offset: isBefore ? Math.ceil(margin) : Math.floor(margin) }
  }
  const margin = (size - wanted) / 2
  return { from: isTransformers ? Math.floor(margin) : roundHalfEven(margin), length: wanted, offset: 0 }
}
