/**
 * The weights of a resize along one axis, in Pillow's fixed point.
 *
 * Source: Pillow, src/libImaging/Resample.c (precompute_coeffs, normalize_coeffs_8bpc) and Geometry.c (nearest).
 */
import { FILTER_FUNCTIONS, type Filter } from './filters.ts'

/** Output sample i is the sum of `count[i]` input samples, the first being `from + first[i]`, each times its weight. */
export interface Coefficients {
  /** the range of input samples that are read */
  from: number
  length: number
  first: Int32Array
  count: Int32Array
  /** fixed point with FRACTION_BITS; those of output i start at `i * stride`, and are followed by zeros */
  weights: Int32Array
  /** a multiple of 4, which is what the kernel reads at a time */
  stride: number
}

const FRACTION_BITS = 22 // Pillow's PRECISION_BITS: 32 - 8 - 2

/**
 * @param from first output sample of the result
 * @param length number of output samples in the result
 * @returns the coefficients for resizing an axis of `size` samples to `newSize`
 */
export function coefficientsOf(
  size: number,
  newSize: number,
  from: number,
  length: number,
  filter: Filter,
): Coefficients {
  if (filter === 'nearest') return nearest(size, newSize, from, length)
  // an axis that keeps its size is copied: the box filter gives each sample the weight 1
  const { radius, weight } = FILTER_FUNCTIONS[size === newSize ? 'box' : filter]
  const scale = size / newSize
  const filterScale = Math.max(scale, 1) // widens the filter when shrinking: antialiasing
  const support = radius * filterScale
  const reciprocal = 1 / filterScale
  const stride = Math.ceil((Math.ceil(support) * 2 + 1) / 4) * 4
  const first = new Int32Array(length)
  const count = new Int32Array(length)
  const weights = new Int32Array(length * stride)
  const exact = new Float64Array(stride)

  for (let i = 0; i < length; i++) {
    const center = (from + i + 0.5) * scale
    const low = Math.max(0, Math.trunc(center - support + 0.5))
    const high = Math.min(size, Math.trunc(center + support + 0.5))
    let sum = 0
    for (let j = low; j < high; j++) {
      exact[j - low] = weight((j - center + 0.5) * reciprocal)
      sum += exact[j - low]
    }
    first[i] = low
    count[i] = high - low
    for (let j = 0; j < high - low; j++) {
      const fixed = (sum === 0 ? exact[j] : exact[j] / sum) * (1 << FRACTION_BITS)
      weights[i * stride + j] = Math.trunc(fixed + (fixed < 0 ? -0.5 : 0.5))
    }
  }
  return relative(first, count, weights, stride)
}

/** One input sample each; the position is accumulated as in Pillow, whose rounding differs from a product's. */
function nearest(size: number, newSize: number, from: number, length: number): Coefficients {
  const step = size / newSize
  const first = new Int32Array(length)
  let position = step * 0.5
  for (let i = 0; i < from + length; i++, position += step) {
    if (i >= from) first[i - from] = Math.trunc(position)
  }
  const weights = new Int32Array(length * 4)
  for (let i = 0; i < weights.length; i += 4) weights[i] = 1 << FRACTION_BITS
  return relative(
    first,
    first.map(() => 1),
    weights,
    4,
  )
}

/** @param first in ascending order, counted from the beginning of the axis */
function relative(first: Int32Array, count: Int32Array, weights: Int32Array, stride: number): Coefficients {
  const from = first[0]
  const length = first[first.length - 1] + count[count.length - 1] - from
  return { from, length, first: first.map((low) => low - from), count, weights, stride }
}

/** For an axis of `size` samples stored from last to first: the same output samples, from last to first. */
export function flipped({ from, length, stride, ...axis }: Coefficients, size: number): Coefficients {
  const count = axis.count.toReversed()
  const first = axis.first.toReversed().map((low, i) => length - low - count[i])
  const weights = axis.weights.toReversed()
  // the zeros that follow the weights of an output
  for (const [i, taken] of count.entries())
    weights
      .copyWithin(i * stride, (i + 1) * stride - taken, (i + 1) * stride)
      .fill(0, i * stride + taken, (i + 1) * stride)
  return { from: size - from - length, length, first, count, weights, stride }
}

/** How many bits of a weight are in its lower half. */
const LOW_BITS = 15

/** The layout that the horizontal kernel multiplies: of every four weights the lower halves, then the upper ones. */
export function splitWeights({ weights }: Coefficients): Int16Array {
  const halves = new Int16Array(weights.length * 2)
  for (let i = 0; i < weights.length; i++) {
    const at = i + (i & ~3)
    halves[at] = weights[i] & (2 ** LOW_BITS - 1)
    halves[at + 4] = weights[i] >> LOW_BITS
  }
  return halves
}
