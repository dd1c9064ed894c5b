/**
 * The inner loops over pixels, in AssemblyScript: compiled to WebAssembly, because JavaScript has no SIMD.
 *
 * Arguments are addresses, and sizes in bytes or pixels. Loads and stores may reach up to 31 bytes past the data: the
 * caller leaves room for them.
 */

import { words } from './simd.as.ts'

/** The first free address. */
export const FREE: usize = __heap_base

// For resample/: sums are 32-bit fixed point with FRACTION_BITS. Wrapping integer sums are the same in any order.

const FRACTION_BITS = 22
const HALF = 1 << (FRACTION_BITS - 1)
/** Weights of the horizontal pass are split into 16-bit halves: SIMD multiplies twice as many of those at once. */
const LOW_BITS = 15

/** Four sums to four bytes, rounded down and clamped to 0..255, in the lowest 32 bits. */
@inline
function toBytes(sums: v128): v128 {
  const whole = i32x4.shr_s(sums, FRACTION_BITS)
  const words = i16x8.narrow_i32x4_s(whole, whole)
  return i8x16.narrow_i16x8_u(words, words)
}

/** One RGB pixel: `count` pixels from `p` times the weights from `w`. Stores a fourth byte, which the next overwrites. */
@inline
function rgb(p: usize, w: usize, count: i32, out: usize): void {
  let low = i32x4.splat(HALF)
  let high = i32x4.splat(0)
  // four pixels at a time: weights after the last are 0
  for (let j = 0; j < count; j += 4) {
    const bytes = v128.load(p)
    // two reds, two greens, two blues, widened to 16 bits
    const pair = i8x16.swizzle(bytes, i8x16(0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1))
    const next = i8x16.swizzle(bytes, i8x16(6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1))
    low = i32x4.add(low, i32x4.dot_i16x8_s(pair, v128.load32_splat(w)))
    high = i32x4.add(high, i32x4.dot_i16x8_s(pair, v128.load32_splat(w, 8)))
    low = i32x4.add(low, i32x4.dot_i16x8_s(next, v128.load32_splat(w, 4)))
    high = i32x4.add(high, i32x4.dot_i16x8_s(next, v128.load32_splat(w, 12)))
    p += 12
    w += 16
  }
  v128.store32_lane(out, toBytes(i32x4.add(low, i32x4.shl(high, LOW_BITS))), 0)
}

/** One grey pixel, likewise. */
@inline
function grey(p: usize, w: usize, count: i32, out: usize): void {
  let sums = i32x4.splat(0)
  for (let j = 0; j < count; j += 4) {
    // once for the lower halves of the weights, once for the upper
    const twice = i8x16(0, -1, 1, -1, 2, -1, 3, -1, 0, -1, 1, -1, 2, -1, 3, -1)
    const bytes = i8x16.swizzle(v128.load32_zero(p), twice)
    sums = i32x4.add(sums, i32x4.dot_i16x8_s(bytes, v128.load(w)))
    p += 4
    w += 16
  }
  const low = i32x4.extract_lane(sums, 0) + i32x4.extract_lane(sums, 1)
  const high = i32x4.extract_lane(sums, 2) + i32x4.extract_lane(sums, 3)
  const sum = HALF + low + (high << LOW_BITS)
  store<u8>(out, min(max(sum >> FRACTION_BITS, 0), 255))
}

/**
 * Resample rows.
 *
 * @param source rows of `rowBytes` bytes
 * @param channels 1 or 3
 * @param first per output pixel its first input pixel, i32
 * @param counts per output pixel its number of input pixels, i32
 * @param weights per output pixel `stride` of them, i16: for every four, the lower halves and then the upper
 * @param stride a multiple of 4
 * @param out rows of `channels` * `width` bytes
 */
export function horizontal(
  source: usize, rowBytes: i32, rows: i32, channels: i32, first: usize, counts: usize, weights: usize, stride: i32,
  width: i32, out: usize
): void {
  for (let y = 0; y < rows; y++) {
    const row = source + y * rowBytes
    for (let x = 0; x < width; x++) {
      const p = row + load<i32>(first + (x << 2)) * channels
      const w = weights + ((x * stride) << 2)
      const count = load<i32>(counts + (x << 2))
      if (channels === 3) rgb(p, w, count, out)
      else grey(p, w, count, out)
      out += channels
    }
  }
}

/** One output row of the vertical pass: `count` rows of `rowBytes` bytes, each times its weight, i32. */
export function vertical(source: usize, rowBytes: i32, count: i32, weights: usize, out: usize): void {
  for (let x = 0; x < rowBytes; x += 8) {
    let low = i32x4.splat(HALF)
    let high = i32x4.splat(HALF)
    let p = source + x
    for (let j = 0; j < count; j++) {
      const eight = words(p)
      const weight = v128.load32_splat(weights + (j << 2))
      low = i32x4.add(low, i32x4.mul(i32x4.extend_low_i16x8_u(eight), weight))
      high = i32x4.add(high, i32x4.mul(i32x4.extend_high_i16x8_u(eight), weight))
      p += rowBytes
    }
    const whole = i16x8.narrow_i32x4_s(i32x4.shr_s(low, FRACTION_BITS), i32x4.shr_s(high, FRACTION_BITS))
    v128.store64_lane(out + x, i8x16.narrow_i16x8_u(whole, whole), 0)
  }
}

// For decode/png.ts.

/** The neighbour nearest to left + above - corner; ties go in this order (RFC 2083, 6.6). */
@inline
function paeth(left: v128, above: v128, corner: v128): v128 {
  const toLeft = i16x8.abs(i16x8.sub(above, corner))
  const toAbove = i16x8.abs(i16x8.sub(left, corner))
  const toCorner = i16x8.abs(i16x8.sub(i16x8.add(left, above), i16x8.add(corner, corner)))
  const aboveOrCorner = v128.bitselect(above, corner, i16x8.le_s(toAbove, toCorner))
  const isLeft = v128.and(i16x8.le_s(toLeft, toAbove), i16x8.le_s(toLeft, toCorner))
  return v128.bitselect(left, aboveOrCorner, isLeft)
}

const SUB = 1
const UP = 2
const AVERAGE = 3
const PAETH = 4

/** Decode a row, a pixel at a time: add the value that `filter` predicts from the neighbours. */
@inline
function unfilterRow(filter: i32, source: usize, rowBytes: i32, pixelBytes: i32, above: usize, out: usize): void {
  let left = i16x8.splat(0)
  let corner = i16x8.splat(0)
  for (let x = 0; x < rowBytes; x += pixelBytes) {
    const up = words(above + x)
    const predicted =
      filter === SUB ? left : filter === AVERAGE ? i16x8.shr_u(i16x8.add(left, up), 1) : paeth(left, up, corner)
    left = v128.and(i16x8.add(words(source + x), predicted), i16x8.splat(255))
    corner = up
    // four bytes: the next pixel overwrites those after this one
    v128.store32_lane(out + x, i8x16.narrow_i16x8_u(left, left), 0)
  }
}

/**
 * Undo the filters of a PNG file's rows (RFC 2083, 6).
 *
 * @param source rows of a filter type (one byte, 0 to 4) and `rowBytes` bytes
 * @param pixelBytes 1 to 4
 * @param previous the row above the first one; receives the last one
 * @param out rows of `rowBytes` bytes
 */
export function unfilter(source: usize, rowBytes: i32, rows: i32, pixelBytes: i32, previous: usize, out: usize): void {
  let above = previous
  for (let y = 0; y < rows; y++) {
    const filter = load<u8>(source++)
    if (filter === SUB) unfilterRow(SUB, source, rowBytes, pixelBytes, above, out)
    else if (filter === AVERAGE) unfilterRow(AVERAGE, source, rowBytes, pixelBytes, above, out)
    else if (filter === PAETH) unfilterRow(PAETH, source, rowBytes, pixelBytes, above, out)
    else if (filter === UP) {
      for (let x = 0; x < rowBytes; x += 16)
        v128.store(out + x, i8x16.add(v128.load(source + x), v128.load(above + x)))
    } else memory.copy(out, source, rowBytes)
    above = out
    source += rowBytes
    out += rowBytes
  }
  memory.copy(previous, above, rowBytes)
}

/** Keep the first `kept` bytes, 1 to 4, of each pixel. */
export function dropChannels(source: usize, pixels: i32, pixelBytes: i32, kept: i32, out: usize): void {
  for (let i = 0; i < pixels; i++) {
    store<u32>(out, load<u32>(source))
    source += pixelBytes
    out += kept
  }
}

/** RGB for each index into a palette of four bytes per colour. */
export function expandPalette(source: usize, pixels: i32, palette: usize, out: usize): void {
  for (let i = 0; i < pixels; i++) {
    store<u32>(out, load<u32>(palette + (<usize>load<u8>(source + i) << 2)))
    out += 3
  }
}

// For shape.ts and tensor.ts.

/** The luma of Pillow's `convert("L")`: (19595 R + 38470 G + 7471 B + 2^15) >> 16, four pixels at a time. */
export function luma(source: usize, pixels: i32, out: usize): void {
  // green's factor has more than 15 bits: half of it goes with red, half with blue
  const redGreen = i16x8(19595, 19235, 19595, 19235, 19595, 19235, 19595, 19235)
  const greenBlue = i16x8(19235, 7471, 19235, 7471, 19235, 7471, 19235, 7471)
  for (let i = 0; i < pixels; i += 4) {
    const bytes = v128.load(source)
    const rg = i8x16.swizzle(bytes, i8x16(0, -1, 1, -1, 3, -1, 4, -1, 6, -1, 7, -1, 9, -1, 10, -1))
    const gb = i8x16.swizzle(bytes, i8x16(1, -1, 2, -1, 4, -1, 5, -1, 7, -1, 8, -1, 10, -1, 11, -1))
    const sums = i32x4.add(i32x4.dot_i16x8_s(rg, redGreen), i32x4.dot_i16x8_s(gb, greenBlue))
    const levels = i32x4.shr_u(i32x4.add(sums, i32x4.splat(1 << 15)), 16)
    const words = i16x8.narrow_i32x4_s(levels, levels)
    v128.store32_lane(out + i, i8x16.narrow_i16x8_u(words, words), 0)
    source += 12
  }
}

/** Look up every `step`th byte in a table of 256 float32. */
export function plane(source: usize, pixels: i32, step: i32, table: usize, out: usize): void {
  for (let i = 0; i < pixels; i++) {
    store<f32>(out, load<f32>(table + (<usize>load<u8>(source) << 2)))
    source += step
    out += 4
  }
}
