/**
 * The two inner loops of resample.ts, in AssemblyScript: compiled to WebAssembly, because JavaScript has no SIMD.
 *
 * Sums are 32-bit integers with FRACTION_BITS behind the point, as in resample.ts; they are the same bits in any order.
 * Loads and stores may reach up to 15 bytes past the data: the caller leaves room for it.
 */

const FRACTION_BITS = 22
const HALF = 1 << (FRACTION_BITS - 1)

/** Four sums as four bytes, rounded down and clamped to 0 to 255, in the lowest 32 bits. */
// @ts-expect-error a decorator of AssemblyScript's
@inline
function toBytes(sums: v128): v128 {
  const whole = i32x4.shr_s(sums, FRACTION_BITS)
  const words = i16x8.narrow_i32x4_s(whole, whole)
  return i8x16.narrow_i16x8_u(words, words)
}

/** Four bytes as four 32-bit integers. */
// @ts-expect-error
@inline
function widen(bytes: v128): v128 {
  return i32x4.extend_low_i16x8_u(i16x8.extend_low_i8x16_u(bytes))
}

/** One RGB pixel of `taken` pixels from `p`, with the weights from `w`; stores a fourth byte, which the next overwrites. */
// @ts-expect-error
@inline
function rgb(p: usize, w: usize, taken: i32, out: usize): void {
  let even = i32x4.splat(HALF)
  let odd = i32x4.splat(0)
  // two at a time: they do not wait for each other; a weight behind the last is 0
  for (let j = 0; j < taken; j += 2) {
    even = i32x4.add(even, i32x4.mul(widen(v128.load32_zero(p)), v128.load32_splat(w)))
    odd = i32x4.add(odd, i32x4.mul(widen(v128.load32_zero(p, 3)), v128.load32_splat(w, 4)))
    p += 6
    w += 8
  }
  v128.store32_lane(out, toBytes(i32x4.add(even, odd)), 0)
}

/** One grey pixel. */
// @ts-expect-error
@inline
function grey(p: usize, w: usize, taken: i32, out: usize): void {
  let sums = i32x4.splat(0)
  for (let j = 0; j < taken; j += 4) {
    sums = i32x4.add(sums, i32x4.mul(widen(v128.load32_zero(p)), v128.load(w)))
    p += 4
    w += 16
  }
  const sum =
    HALF +
    i32x4.extract_lane(sums, 0) +
    i32x4.extract_lane(sums, 1) +
    i32x4.extract_lane(sums, 2) +
    i32x4.extract_lane(sums, 3)
  store<u8>(out, min(max(sum >> FRACTION_BITS, 0), 255))
}

/**
 * Rows along x.
 *
 * @param source rows of `rowBytes` bytes
 * @param channels 1 or 3
 * @param first for each output pixel the first input pixel, i32
 * @param count and how many it reads, i32
 * @param weights `stride` of them for each output pixel, i32; `stride` is a multiple of 4
 * @param out rows of `channels` * `width` bytes
 */
export function horizontal(
  source: usize,
  rowBytes: i32,
  rows: i32,
  channels: i32,
  first: usize,
  count: usize,
  weights: usize,
  stride: i32,
  width: i32,
  out: usize,
): void {
  for (let y = 0; y < rows; y++) {
    const row = source + y * rowBytes
    for (let x = 0; x < width; x++) {
      const p = row + load<i32>(first + (x << 2)) * channels
      const w = weights + ((x * stride) << 2)
      const taken = load<i32>(count + (x << 2))
      if (channels === 3) rgb(p, w, taken, out)
      else grey(p, w, taken, out)
      out += channels
    }
  }
}

/** One output row along y: `count` rows of `rowBytes` bytes, from `source`, each with a weight. */
export function vertical(source: usize, rowBytes: i32, count: i32, weights: usize, out: usize): void {
  for (let x = 0; x < rowBytes; x += 8) {
    let low = i32x4.splat(HALF)
    let high = i32x4.splat(HALF)
    let p = source + x
    for (let j = 0; j < count; j++) {
      const words = i16x8.extend_low_i8x16_u(v128.load64_zero(p))
      const weight = v128.load32_splat(weights + (j << 2))
      low = i32x4.add(low, i32x4.mul(i32x4.extend_low_i16x8_u(words), weight))
      high = i32x4.add(high, i32x4.mul(i32x4.extend_high_i16x8_u(words), weight))
      p += rowBytes
    }
    const words = i16x8.narrow_i32x4_s(i32x4.shr_s(low, FRACTION_BITS), i32x4.shr_s(high, FRACTION_BITS))
    v128.store64_lane(out + x, i8x16.narrow_i16x8_u(words, words), 0)
  }
}
