/**
 * The weights of a resize along one axis, in fixed point.
 *
 * Source: Pillow, src/libImaging/Resample.c (precompute_coeffs, normalize_coeffs_8bpc) and Geometry.c (nearest); PyTorch,
 * aten/src/ATen/native/cpu/UpSampleKernel.cpp (_compute_index_ranges_int16_weights) and UpSample.h (nearest).
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

/** How an image is resized. */
export interface Sampling {
  filter: Filter
  /** whose fixed point, and whose nearest neighbour */
  backend: 'pil' | 'torchvision'
  /** whose order of axes, see `resize` */
  isPillow13?: boolean
}

/** Pillow's PRECISION_BITS: 32 - 8 - 2. */
const FRACTION_BITS = 22
/** PyTorch's weights have 16 bits, of which the largest one of an axis uses all. */
const TORCH_WEIGHT_LIMIT = 2 ** 15

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
  { filter, backend }: Sampling,
): Coefficients {
  // an axis that keeps its size is copied
  if (filter === 'nearest' || size === newSize) return nearest(size, newSize, from, length, backend)
  const { radius, weight } = FILTER_FUNCTIONS[filter]
  const scale = size / newSize
  const filterScale = Math.max(scale, 1) // widens the filter when shrinking: antialiasing
  const support = radius * filterScale
  const reciprocal = 1 / filterScale
  const stride = Math.ceil((Math.ceil(support) * 2 + 1) / 4) * 4
  const isPil = backend === 'pil'
  // PyTorch's precision depends on the whole axis
  const [start, end] = isPil ? [from, from + length] : [0, newSize]
  const kept = from - start
  const first = new Int32Array(end - start)
  const count = new Int32Array(end - start)
  const exact = new Float64Array((end - start) * stride)
  let largest = 0
  for (let i = 0; i < first.length; i++) {
    const center = (start + i + 0.5) * scale
    const low = Math.max(0, Math.trunc(center - support + 0.5))
    const high = Math.min(size, Math.trunc(center + support + 0.5))
    let sum = 0
    for (let j = low, at = i * stride; j < high; j++, at++) {
      exact[at] = weight((j - center + 0.5) * reciprocal)
      sum += exact[at]
    }
    for (let at = i * stride; at < i * stride + high - low; at++) {
      if (sum !== 0) exact[at] /= sum
      largest = Math.max(largest, exact[at])
    }
    first[i] = low
    count[i] = high - low
  }

  // weights of fewer bits are shifted to the same fixed point: their sums are rounded alike
  const shift = isPil ? 0 : FRACTION_BITS - torchFractionBits(largest)
  const one = 1 << (FRACTION_BITS - shift)
  const weights = new Int32Array(length * stride)
  for (let i = 0; i < length; i++) {
    const from = (kept + i) * stride
    for (let j = 0; j < count[kept + i]; j++) {
      const fixed = exact[from + j] * one
      weights[i * stride + j] = (fixed < 0 ? fixed - 0.5 : fixed + 0.5) << shift
    }
  }
  const keep = (all: Int32Array) => all.subarray(kept, kept + length)
  return relative({ first: keep(first), count: keep(count), weights, stride })
}

/** As many fraction bits as the largest weight allows. */
function torchFractionBits(largest: number): number {
  let bits = 0
  while (bits < FRACTION_BITS && Math.trunc(0.5 + largest * 2 ** (bits + 1)) < TORCH_WEIGHT_LIMIT) bits++
  return bits
}

/** One input sample each; of torchvision the `NEAREST_EXACT` that transformers uses. */
function nearest(
  size: number,
  newSize: number,
  from: number,
  length: number,
  backend: Sampling['backend'],
): Coefficients {
  const { fround, floor, min } = Math
  const scale = size / newSize
  const first = new Int32Array(length)
  // Pillow accumulates the position, whose rounding differs from a product's
  let position = scale * 0.5
  for (let i = 0; i < from + length; i++, position += scale) {
    if (i < from) continue
    const exact = min(floor(fround((i + 0.5) * fround(scale))), size - 1)
    first[i - from] = backend === 'pil' ? position : exact
  }
  const weights = new Int32Array(length * 4)
  for (let i = 0; i < weights.length; i += 4) weights[i] = 1 << FRACTION_BITS
  const count = first.map(() => 1)
  return relative({ first, count, weights, stride: 4 })
}

/** @param first in ascending order, counted from the beginning of the axis; changed in place */
function relative({ first, count, weights, stride }: Omit<Coefficients, 'from' | 'length'>): Coefficients {
  const from = first[0]
  const length = first[first.length - 1] + count[count.length - 1] - from
  for (let i = 0; i < first.length; i++) first[i] -= from
  // each by name: for a spread, V8 would create hidden classes each time
  return { from, length, first, count, weights, stride }
}

/** For an axis of `size` samples stored from last to first: the same output samples, from last to first. */
export function flipped(axis: Coefficients, size: number): Coefficients {
  const { from, length, stride } = axis
  const count = axis.count.toReversed()
  const first = axis.first.toReversed().map((low, i) => length - low - count[i])
  const weights = axis.weights.toReversed()
  for (const [i, taken] of count.entries()) {
    // the zeros that follow the weights of an output come first now
    const [at, end] = [i * stride, (i + 1) * stride]
    weights.copyWithin(at, end - taken, end).fill(0, at + taken, end)
  }
  return { ...axis, from: size - from - length, first, count, weights }
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
