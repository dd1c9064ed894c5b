/**
 * Pillow's `Image.resize` for 8-bit pixels, bit for bit.
 *
 * Source of every formula: Pillow, src/libImaging/Resample.c and Geometry.c (nearest). torchvision on PIL
 * images and transformers' image processors both end there, so this is what models were trained with.
 */

import { type Box, columns, crop, type Picture, type Pixels, turned, turnedSize, wholeOf } from './pixels.ts'
import { mapRows, newPass, pieces, rowsAtOnce } from './wasm/pixel_kernel.ts'

/** The filters under the names that Pillow and timm use. */
export type Filter = 'nearest' | 'lanczos' | 'bilinear' | 'bicubic' | 'box' | 'hamming'

/** Pillow's `Image.Resampling` numbers, as `resample` in preprocessor_config.json has them. */
export const FILTERS: readonly Filter[] = ['nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming']

type Kernel = { radius: number; weight: (x: number) => number }

const sinc = (x: number): number => (x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI))

// Pillow writes these two constants with an f suffix in C
const HAMMING_A = Math.fround(0.54)
const HAMMING_B = Math.fround(0.46)

const KERNELS: Record<Exclude<Filter, 'nearest'>, Kernel> = {
  box: { radius: 0.5, weight: (x) => (x > -0.5 && x <= 0.5 ? 1 : 0) },
  bilinear: { radius: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  hamming: {
    radius: 1,
    weight: (x) => {
      if (x === 0) return 1
      if (Math.abs(x) >= 1) return 0
      const angle = Math.abs(x) * Math.PI
      return (Math.sin(angle) / angle) * (HAMMING_A + HAMMING_B * Math.cos(angle))
    },
  },
  bicubic: {
    radius: 2,
    weight: (x) => {
      const a = -0.5
      const t = Math.abs(x)
      if (t < 1) return ((a + 2) * t - (a + 3)) * t * t + 1
      if (t < 2) return (((t - 5) * t + 8) * t - 4) * a
      return 0
    },
  },
  lanczos: { radius: 3, weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0) },
}

const FRACTION_BITS = 22 // Pillow's PRECISION_BITS: 32 - 8 - 2

/** For each output sample: the first input sample it reads, how many, and their fixed-point weights. */
interface Taps {
  first: Int32Array
  count: Int32Array
  weights: Int32Array
  /** weights of output i start at `i * stride` */
  stride: number
}

/** The taps of the outputs `from` to `from + length` of resizing an axis of `n` samples to `m`. */
function taps(n: number, m: number, from: number, length: number, filter: Filter): Taps {
  if (filter === 'nearest') return nearestTaps(n, m, from, length)
  // where the size stays the same, each sample is its own only tap; others would have the weight 0
  const kernel = KERNELS[n === m ? 'box' : filter]
  const scale = n / m
  const filterScale = Math.max(scale, 1) // widens when shrinking: this is the antialiasing
  const support = kernel.radius * filterScale
  const reciprocal = 1 / filterScale
  // the kernel takes four at a time: what is behind the last is 0
  const stride = Math.ceil((Math.ceil(support) * 2 + 1) / 4) * 4
  const first = new Int32Array(length)
  const count = new Int32Array(length)
  const weights = new Int32Array(length * stride)
  const exact = new Float64Array(stride)

  for (let i = 0; i < length; i++) {
    const center = (from + i + 0.5) * scale
    const low = Math.max(0, Math.trunc(center - support + 0.5))
    const high = Math.min(n, Math.trunc(center + support + 0.5))
    let sum = 0
    for (let j = low; j < high; j++) {
      const weight = kernel.weight((j - center + 0.5) * reciprocal)
      exact[j - low] = weight
      sum += weight
    }
    first[i] = low
    count[i] = high - low
    for (let j = 0; j < high - low; j++) {
      const weight = (sum === 0 ? exact[j] : exact[j] / sum) * (1 << FRACTION_BITS)
      weights[i * stride + j] = Math.trunc(weight + (weight < 0 ? -0.5 : 0.5))
    }
  }
  return { first, count, weights, stride }
}

/** One sample for each output; the position is accumulated, as Pillow does. */
function nearestTaps(n: number, m: number, from: number, length: number): Taps {
  const step = n / m
  const first = new Int32Array(length)
  let position = step * 0.5
  for (let i = 0; i < from + length; i++, position += step) {
    if (i >= from) first[i - from] = Math.trunc(position)
  }
  const weights = new Int32Array(length * 4)
  for (let i = 0; i < weights.length; i += 4) weights[i] = 1 << FRACTION_BITS
  return { first, count: first.map(() => 1), weights, stride: 4 }
}

/** The same outputs of an axis of `n` samples that are stored from the last to the first. */
function mirrored({ first, count, weights, stride }: Taps, n: number): Taps {
  const reversed = weights.slice()
  for (const [i, taken] of count.entries()) reversed.subarray(i * stride, i * stride + taken).reverse()
  return { first: first.map((low, i) => n - low - count[i]), count, weights: reversed, stride }
}

/** The input samples that are read, from the first to the last. */
function spanOf({ first, count }: Taps): { from: number; length: number } {
  const last = first.length - 1
  const from = Math.min(first[0], first[last])
  return { from, length: Math.max(first[0] + count[0], first[last] + count[last]) - from }
}

/** Of a weight's 32 bits so many are in its lower half, see pixel_kernel.as.ts. */
const LOW_BITS = 15

/** Weights in two halves: of each four the lower ones, then the higher. */
function inHalves(weights: Int32Array): Int16Array {
  const halves = new Int16Array(weights.length * 2)
  for (let i = 0; i < weights.length; i++) {
    const at = i + (i & ~3)
    halves[at] = weights[i] & (2 ** LOW_BITS - 1)
    halves[at + 4] = weights[i] >> LOW_BITS
  }
  return halves
}

/** Rows on their way through the passes. */
interface Lines {
  strips: Iterable<Uint8Array>
  rowBytes: number
  channels: 1 | 3
  /** the number of the first one */
  top: number
  height: number
}

/** Resample each row. */
function horizontal(lines: Lines, { first, count, weights, stride }: Taps): Lines {
  const { strips, rowBytes, channels, height } = lines
  const width = first.length
  const toRowBytes = width * channels
  const data = mapRows(
    {
      strips,
      rowBytes,
      to: new Uint8Array(height * toRowBytes),
      toRowBytes,
      tables: [first, count, inHalves(weights)],
    },
    (kernel, { source, rows, out }, [firstAt, countAt, weightsAt]) =>
      kernel.horizontal(source, rowBytes, rows, channels, firstAt, countAt, weightsAt, stride, width, out),
  )
  return { ...lines, strips: [data], rowBytes: toRowBytes }
}

/** Resample each column: each row as soon as the last one that it is made of is there. */
function vertical(lines: Lines, { first, count, weights, stride }: Taps): Lines {
  const { strips, rowBytes, top } = lines
  const height = first.length
  const data = new Uint8Array(height * rowBytes)
  const endOf = (row: number) => first[row] + count[row]
  const middleOf = (row: number) => first[row] + endOf(row)
  // as they are stored: those of a mirrored axis from the last to the first
  const isMirrored = middleOf(0) > middleOf(height - 1)
  const step = isMirrored ? -1 : 1

  const most = rowsAtOnce(rowBytes)
  const longest = count.reduce((a, b) => Math.max(a, b), 0)
  const pass = newPass()
  const weightsAt = pass.put(weights)
  const [source, out] = [pass.reserve((longest + most) * rowBytes), pass.reserve(rowBytes)]
  // the rows `start` to `end` are in the kernel's memory
  let [start, end] = [top, top]
  let row = isMirrored ? height - 1 : 0
  for (const some of pieces(strips, rowBytes, most)) {
    const kept = Math.min(Math.max(start, first[row] ?? end), end)
    pass.view(source, (end - start) * rowBytes).copyWithin(0, (kept - start) * rowBytes)
    start = kept
    pass.view(source + (end - start) * rowBytes, some.length).set(some)
    end += some.length / rowBytes
    for (; endOf(row) <= end; row += step) {
      const at = source + (first[row] - start) * rowBytes
      pass.kernel.vertical(at, rowBytes, count[row], weightsAt + row * stride * 4, out)
      data.set(pass.view(out, rowBytes), row * rowBytes)
    }
  }
  return { ...lines, strips: [data], top: 0, height }
}

/**
 * Resize as `Image.resize((width, height), filter)` does, and keep only `box` of the result (default: all of it).
 *
 * Two passes, along x first and rounded to 8 bits in between. Only what `box` needs is computed, which changes no bit of
 * it. A picture that is stored turned is resampled as it is stored, its x still first, and the result is turned.
 *
 * @param width of the whole resized image in pixels, at least 1
 * @param height likewise
 * @param box must lie within width x height
 */
export function resize(
  source: Picture,
  width: number,
  height: number,
  filter: Filter,
  box: Box = wholeOf({ width, height }),
): Pixels {
  if (width === source.width && height === source.height) return crop(source, box)
  const { channels, turn } = source
  const seenX = taps(source.width, width, box.left, box.width, filter)
  const seenY = taps(source.height, height, box.top, box.height, filter)
  const x = turn.mirrorsX ? mirrored(seenX, source.width) : seenX
  const y = turn.mirrorsY ? mirrored(seenY, source.height) : seenY
  if (!turn.isTransposed) {
    const [data] = vertical(horizontal(read(source, x, y), x), y).strips
    return { data, width: box.width, height: box.height, channels }
  }
  // what the second pass does not read, the first need not make
  const span = spanOf(y)
  const narrow = { ...y, first: y.first.map((low) => low - span.from) }
  const [data] = horizontal(vertical(columnsOf(read(source, y, x), span), x), narrow).strips
  return turned({ data, channels, width: box.height, height: box.width }, TRANSPOSED)
}

const TRANSPOSED = { isTransposed: true, mirrorsX: false, mirrorsY: false }

/** The stored rows that two passes need of a picture, in which only the columns that they need have to be right. */
function read(picture: Picture, across: Taps, down: Taps): Lines {
  const { channels, turn } = picture
  const [{ from: left, length: width }, { from: top, length: height }] = [spanOf(across), spanOf(down)]
  const rowBytes = turnedSize(picture, turn).width * channels
  return { strips: picture.strips({ left, top, width, height }), rowBytes, channels, top, height }
}

function columnsOf(lines: Lines, { from, length }: { from: number; length: number }): Lines {
  const { strips, rowBytes, channels } = lines
  const bytes = length * channels
  return { ...lines, strips: columns(strips, rowBytes, from * channels, bytes), rowBytes: bytes }
}
