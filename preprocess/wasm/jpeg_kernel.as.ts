/**
 * The inner loops of decoding a baseline JPEG file, in AssemblyScript: compiled to WebAssembly.
 *
 * Source: ITU-T T.81. It leaves the arithmetic open: this is that of libjpeg (jidctint.c, jdsample.c, jdcolor.c), which
 * makes Pillow's pixels. Loads and stores may reach up to 31 bytes past the data: the caller leaves room for them.
 */

import { words } from './simd.as.ts'

/** The first free address: after the constants and scratch memory below. */
export const FREE: usize = __heap_base

const BLOCK_BYTES = 128
/** the coefficients of one block, 64 i16; zero whenever no block is being decoded */
const block: usize = memory.data(BLOCK_BYTES, 16)

// Entropy-coded data (T.81, annex F)

const RST0 = 0xd0
const EOI = 0xd9

/** the unread bytes of the file */
let source: usize = 0
let sourceEnd: usize = 0
/** the segment between two restart markers: little-endian words of 32 bits, its length, the marker after it */
let segment: usize = 0
let segmentBytes: i32 = 0
let marker: i32 = 0
/** the bit reader: the next bits, left-aligned; the number of valid bits; the address of the bytes after them */
let bits: u64 = 0
let bitCount: i32 = 0
let at: usize = 0
let untilRestart: i32 = 0
let restartEvery: i32 = 0
let restarts: i32 = 0

/**
 * @param buffer receives one segment at a time. It must have room for the whole source and an MCU of the longest codes,
 * which may be read before damage is noticed
 * @param interval MCUs between restart markers; 0 if there are none
 * @returns whether the data were intact so far
 */
export function beginScan(from: usize, end: usize, buffer: usize, interval: i32): bool {
  source = from
  sourceEnd = end
  segment = buffer
  restartEvery = interval > 0 ? interval : i32.MAX_VALUE
  restarts = 0
  memory.fill(block, 0, BLOCK_BYTES)
  return startSegment()
}

/** Copy the next segment without byte stuffing (the 0x00 after each 0xFF). @returns whether a marker follows */
function startSegment(): bool {
  let out = segment
  while (true) {
    if (source + 2 > sourceEnd) return false
    const bytes = v128.load(source)
    if (source + 16 <= sourceEnd && !v128.any_true(i8x16.eq(bytes, i8x16.splat(-1)))) {
      v128.store(out, bytes)
      source += 16
      out += 16
      continue
    }
    const byte = load<u8>(source++)
    if (byte === 0xff) {
      marker = load<u8>(source++)
      if (marker !== 0) break
    }
    store<u8>(out++, byte)
  }
  segmentBytes = <i32>(out - segment)
  v128.store(out, i64x2.splat(0)) // bits past the end
  const swap = i8x16(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12)
  for (let word = segment; word < out; word += 16) v128.store(word, i8x16.swizzle(v128.load(word), swap))
  at = segment
  bits = 0
  bitCount = 0
  untilRestart = restartEvery
  return true
}

/** @returns the number of unread bytes of the segment; negative if reads went past its end */
function bytesLeft(): i32 {
  const taken = ((<i32>(at - segment)) << 3) - bitCount
  return segmentBytes - ((taken + 7) >> 3)
}

/** After the last MCU: whether the data were intact, and the image ends here. */
export function endScan(): bool {
  return bytesLeft() >= 0 && marker === EOI
}

// A Huffman table has an i32 entry for each value of the next LOOK bits:
//   bits 0 to 6   the number of bits to consume
//   bit 7         IS_OPEN: the coefficient's bits do not fit into LOOK. Without any other bit: nor does the code
//   bits 8 to 15  the number of zeros before the coefficient
//   bits 16 to 31 the coefficient, or under IS_OPEN its number of bits
// After the entries: the address of the definition, and by code length the first longer code, left-aligned to 16 bits,
// and the offset from a code to its symbol.

const LOOK = 10
const DEFINITION = 4 << LOOK
const LIMITS = DEFINITION + 4
const OFFSETS = LIMITS + 17 * 4
const IS_OPEN = 0x80
/** as a run of zeros: the rest of the block is zero */
const REST = 128

/** Bytes of a table. */
export const TABLE_BYTES: i32 = OFFSETS + 17 * 4

/**
 * @param definition the number of codes of 1, 2, ... 16 bits, and the symbols in the order of their codes: the zeros
 * before a coefficient in the upper half, its number of bits in the lower. The table refers to it
 * @returns whether the code is valid
 */
export function buildHuffmanTable(definition: usize, out: usize): bool {
  for (let i = 0; i < DEFINITION; i += 4) store<i32>(out + i, IS_OPEN)
  store<usize>(out, definition, DEFINITION)
  let code = 0
  let index = 16
  for (let length = 1; length <= 16; length++) {
    store<i32>(out + (length << 2), index - code, OFFSETS)
    for (let i: i32 = load<u8>(definition + length - 1); i > 0; i--, index++, code++) {
      const symbol: i32 = load<u8>(definition + index)
      const isKnown = (symbol & 15) > 0 || symbol === 0 || symbol === 0xf0
      // a code must not be all ones
      if (code + 1 >= 1 << length || !isKnown) return false
      const rest = LOOK - length
      // all values that begin with the code
      for (let tail = 0; rest >= 0 && tail < 1 << rest; tail++)
        store<i32>(out + (((code << rest) + tail) << 2), entryOf(symbol, length, tail, rest))
    }
    store<i32>(out + (length << 2), code << (16 - length), LIMITS)
    code <<= 1
  }
  return true
}

/** @param tail the `rest` bits after a code of `length` bits */
function entryOf(symbol: i32, length: i32, tail: i32, rest: i32): i32 {
  const size = symbol & 15
  const run = symbol === 0 ? REST : symbol >> 4
  if (size > rest) return length | IS_OPEN | (run << 8) | (size << 16)
  return (length + size) | (run << 8) | (extend(tail >> (rest - size), size) << 16)
}

/** A coefficient from its bits: negative if they begin with 0, and 0 if there are none (T.81, F.2.2.1). */
@inline
function extend(bits: i32, size: i32): i32 {
  // without a branch: the sign is random, and half of the branches would be mispredicted
  return bits + (((bits >> (size - 1)) - 1) & (1 - (1 << size)))
}

/** The entry for a code longer than LOOK bits. @returns 0 if no code begins with these bits */
function longCode(table: usize, next: i32): i32 {
  for (let length = LOOK + 1; length <= 16; length++) {
    const limits = table + (length << 2)
    if (next >= load<i32>(limits, LIMITS)) continue
    const index = (next >> (16 - length)) + load<i32>(limits, OFFSETS)
    return entryOf(load<u8>(load<usize>(table, DEFINITION) + index), length, 0, -1)
  }
  return 0
}

/** Position in a block of each coefficient in the order of the scan, in bytes (T.81, figure 5). */
const ZIGZAG = memory.data<u8>([
  0, 2, 16, 32, 18, 4, 6, 20, 34, 48, 64, 50, 36, 22, 8, 10, 24, 38, 52, 66, 80, 96, 82, 68, 54, 40, 26, 12, 14, 28, 42, 56,
  70, 84, 98, 112, 114, 100, 86, 72, 58, 44, 30, 46, 60, 74, 88, 102, 116, 118, 104, 90, 76, 62, 78, 92, 106, 120, 122, 108,
  94, 110, 124, 126,
])

// The offsets in a component's description: i32 each
const DC = 0
const AC = 4
const QUANTS = 8
const PLANE = 12
const STRIDE = 16
const ACROSS = 20
const DOWN = 24
const PREDICTION = 28
const COMPONENT_BYTES = 32

/**
 * Decode one row of MCUs.
 *
 * @param components `count` descriptions: the addresses of the DC and AC tables, of the quantization table (64 u8 in
 * the order of the scan) and of the rows to decode to; the bytes of such a row; blocks in an MCU across and down; the
 * last DC coefficient
 * @param mcus in the row
 * @param from first MCU whose pixels are needed
 * @param to first MCU after them
 * @returns whether the data were intact
 */
export function decodeMcuRow(components: usize, count: i32, mcus: i32, from: i32, to: i32): bool {
  const end = components + count * COMPONENT_BYTES
  for (let mcu = 0; mcu < mcus; mcu++) {
    if (untilRestart-- === 0) {
      const expected = RST0 + (restarts++ & 7)
      if (bytesLeft() !== 0 || marker !== expected || !startSegment()) return false
      untilRestart--
      for (let c = components; c < end; c += COMPONENT_BYTES) store<i32>(c, 0, PREDICTION)
    }
    for (let c = components; c < end; c += COMPONENT_BYTES) {
      const across = load<i32>(c, ACROSS)
      const down = load<i32>(c, DOWN)
      const stride = load<i32>(c, STRIDE)
      for (let y = 0; y < down; y++) {
        for (let x = 0; x < across; x++) {
          const reach = readCoefficients(c)
          if (reach < 0) return false
          const out = <usize>load<i32>(c, PLANE) + y * 8 * stride + ((mcu * across + x) << 3)
          if (mcu < from || mcu >= to) memory.fill(block, 0, BLOCK_BYTES)
          else if (reach === 0) flat(out, stride)
          else inverse(reach, out, stride)
        }
      }
    }
    if (at > segment + segmentBytes + 8) return false
  }
  return true
}

/**
 * Read a block, and multiply its coefficients by their quantizers.
 *
 * @returns the positions in bytes of all coefficients but DC, combined by OR; -1 if the data are damaged
 */
function readCoefficients(component: usize): i32 {
  const quants = <usize>load<i32>(component, QUANTS)
  let ahead = bits
  let left = bitCount
  let p = at
  let table = <usize>load<i32>(component, DC)
  let k = -1
  let reach = 0
  do {
    if (left < 32) {
      ahead |= (<u64>load<u32>(p)) << (32 - left)
      p += 4
      left += 32
    }
    let entry = load<i32>(table + (<usize>(ahead >> (64 - LOOK)) << 2))
    let value = entry >> 16
    if (entry & IS_OPEN) {
      if (entry === IS_OPEN) entry = longCode(table, <i32>(ahead >> 48))
      if (entry === 0) return -1
      const size = entry >> 16
      value = extend(<i32>((ahead << (entry & 31)) >> 1 >> (63 - size)), size)
      entry += size
    }
    const taken = entry & 0x7f
    ahead <<= taken
    left -= taken
    const run = (entry >> 8) & 0xff
    if (k < 0) {
      // DC is coded as the difference from the last block's
      value += load<i32>(component, PREDICTION)
      store<i32>(component, value, PREDICTION)
      store<i16>(block, value * load<u8>(quants))
      table = <usize>load<i32>(component, AC)
      k = 0
      continue
    }
    k += run + 1
    if (k > 63) {
      if (k < REST) return -1
      break
    }
    // a run of 16 zeros, the last of which is not a coefficient either
    if (value === 0) continue
    const position = load<u8>(ZIGZAG + k)
    store<i16>(block + position, value * load<u8>(quants + k))
    reach |= position
  } while (k < 63)
  bits = ahead
  bitCount = left
  at = p
  return reach
}

// The inverse DCT of jidctint.c as its SIMD versions compute it: on 16-bit numbers, with products and sums of 32 bits.

const CONST_BITS = 13
const PASS1_BITS = 2
const F_0_298 = 2446
const F_0_390 = 3196
const F_0_541 = 4433
const F_0_765 = 6270
const F_0_899 = 7373
const F_1_175 = 9633
const F_1_501 = 12299
const F_1_847 = 15137
const F_1_961 = 16069
const F_2_053 = 16819
const F_2_562 = 20995
const F_3_072 = 25172

/** A block of DC only. */
@inline
function flat(out: usize, stride: i32): void {
  const dc = <i32>(<i16>(<i32>load<i16>(block) << PASS1_BITS))
  store<i16>(block, 0)
  const level = min(max(((dc + (1 << (PASS1_BITS + 2))) >> (PASS1_BITS + 3)) + 128, 0), 255)
  const eight = i8x16.splat(<i8>level)
  for (let y = 0; y < 8; y++) v128.store64_lane(out + y * stride, eight, 0)
}

/** The lower (upper) halves of two vectors, interleaved. */
@inline
function lowWords(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(a, b, 0, 8, 1, 9, 2, 10, 3, 11)
}

@inline
function highWords(a: v128, b: v128): v128 {
  return v128.shuffle<i16>(a, b, 4, 12, 5, 13, 6, 14, 7, 15)
}

/** a * factor + b * other factor in 32 bits, for the lower half of the lanes. */
@inline
function product(a: v128, b: v128, factors: v128): v128 {
  return i32x4.dot_i16x8_s(lowWords(a, b), factors)
}

@inline
function pair(first: i32, second: i32): v128 {
  return i32x4.splat((first & 0xffff) | (second << 16))
}

/** even + odd and even - odd, scaled back to 16 bits, to the rows `first` and `last` of four columns. */
@inline
function butterfly(column: usize, first: i32, last: i32, even: v128, odd: v128, shift: i32): void {
  const rounded = i32x4.add(even, i32x4.splat(1 << (shift - 1)))
  const sum = i32x4.shr_s(i32x4.add(rounded, odd), shift)
  const difference = i32x4.shr_s(i32x4.sub(rounded, odd), shift)
  v128.store64_lane(column + (first << 4), i16x8.narrow_i32x4_s(sum, sum), 0)
  v128.store64_lane(column + (last << 4), i16x8.narrow_i32x4_s(difference, difference), 0)
}

/** One pass of the inverse DCT: along y, four columns at once. */
@inline
function fourColumns(column: usize, shift: i32): void {
  const in0 = v128.load64_zero(column)
  const in1 = v128.load64_zero(column, 16)
  const in2 = v128.load64_zero(column, 32)
  const in3 = v128.load64_zero(column, 48)
  const in4 = v128.load64_zero(column, 64)
  const in5 = v128.load64_zero(column, 80)
  const in6 = v128.load64_zero(column, 96)
  const in7 = v128.load64_zero(column, 112)

  const tmp3 = product(in2, in6, pair(F_0_541 + F_0_765, F_0_541))
  const tmp2 = product(in2, in6, pair(F_0_541, F_0_541 - F_1_847))
  const tmp0 = i32x4.shl(i32x4.extend_low_i16x8_s(i16x8.add(in0, in4)), CONST_BITS)
  const tmp1 = i32x4.shl(i32x4.extend_low_i16x8_s(i16x8.sub(in0, in4)), CONST_BITS)
  const sum3 = i16x8.add(in7, in3)
  const sum4 = i16x8.add(in5, in1)
  const z3 = product(sum3, sum4, pair(F_1_175 - F_1_961, F_1_175))
  const z4 = product(sum3, sum4, pair(F_1_175, F_1_175 - F_0_390))
  const one = product(in7, in1, pair(-F_0_899, F_1_501 - F_0_899))
  const three = product(in5, in3, pair(-F_2_562, F_3_072 - F_2_562))
  const five = product(in5, in3, pair(F_2_053 - F_2_562, -F_2_562))
  const seven = product(in7, in1, pair(F_0_298 - F_0_899, -F_0_899))

  butterfly(column, 0, 7, i32x4.add(tmp0, tmp3), i32x4.add(one, z4), shift)
  butterfly(column, 1, 6, i32x4.add(tmp1, tmp2), i32x4.add(three, z3), shift)
  butterfly(column, 2, 5, i32x4.sub(tmp1, tmp2), i32x4.add(five, z4), shift)
  butterfly(column, 3, 4, i32x4.sub(tmp0, tmp3), i32x4.add(seven, z3), shift)
}

@inline
function columns(block: usize, shift: i32): void {
  fourColumns(block, shift)
  fourColumns(block + 8, shift)
}

/** Interleave the first half of a block's rows with the second, three times. */
@inline
function transpose(block: usize): void {
  const a0 = v128.load(block)
  const a1 = v128.load(block, 16)
  const a2 = v128.load(block, 32)
  const a3 = v128.load(block, 48)
  const a4 = v128.load(block, 64)
  const a5 = v128.load(block, 80)
  const a6 = v128.load(block, 96)
  const a7 = v128.load(block, 112)
  const b0 = lowWords(a0, a4)
  const b1 = highWords(a0, a4)
  const b2 = lowWords(a1, a5)
  const b3 = highWords(a1, a5)
  const b4 = lowWords(a2, a6)
  const b5 = highWords(a2, a6)
  const b6 = lowWords(a3, a7)
  const b7 = highWords(a3, a7)
  const c0 = lowWords(b0, b4)
  const c1 = highWords(b0, b4)
  const c2 = lowWords(b1, b5)
  const c3 = highWords(b1, b5)
  const c4 = lowWords(b2, b6)
  const c5 = highWords(b2, b6)
  const c6 = lowWords(b3, b7)
  const c7 = highWords(b3, b7)
  v128.store(block, lowWords(c0, c4))
  v128.store(block, highWords(c0, c4), 16)
  v128.store(block, lowWords(c1, c5), 32)
  v128.store(block, highWords(c1, c5), 48)
  v128.store(block, lowWords(c2, c6), 64)
  v128.store(block, highWords(c2, c6), 80)
  v128.store(block, lowWords(c3, c7), 96)
  v128.store(block, highWords(c3, c7), 112)
}

/** Transform the block's coefficients to 8 x 8 levels. @param reach from `readCoefficients` */
function inverse(reach: i32, out: usize, stride: i32): void {
  if (reach >= 16) columns(block, CONST_BITS - PASS1_BITS)
  else {
    // the first row only: the same result, except for values so large that they overflow
    const row = i16x8.shl(v128.load(block), PASS1_BITS)
    for (let i = 0; i < BLOCK_BYTES; i += 16) v128.store(block + i, row)
  }
  transpose(block)
  columns(block, CONST_BITS + PASS1_BITS + 3)
  transpose(block)
  for (let i = 0; i < BLOCK_BYTES; i += 16) {
    const row = v128.load(block + i)
    v128.store64_lane(out, i8x16.add(i8x16.narrow_i16x8_s(row, row), i8x16.splat(-128)), 0)
    v128.store(block + i, i64x2.splat(0))
    out += stride
  }
}

// Upsampling (jdsample.c, "fancy") and colours (jdcolor.c)

/**
 * Double the samples: 3 * near + far along y, then 3 * each sum + its left or right neighbour (at the ends, itself).
 *
 * @param near row of `width` samples
 * @param far the neighbouring row; the same one if the height does not change
 * @param even added before the division by 16, for the left one of each two
 * @param odd likewise, for the right one
 * @param sums scratch of `width` + 2 numbers, i16
 */
export function upsample(near: usize, far: usize, width: i32, even: i32, odd: i32, sums: usize, out: usize): void {
  for (let x = 0; x < width; x += 8) {
    const a = words(near + x)
    v128.store(sums + (x << 1), i16x8.add(i16x8.add(i16x8.add(a, a), a), words(far + x)), 2)
  }
  store<i16>(sums, load<i16>(sums, 2))
  store<i16>(sums + (width << 1), load<i16>(sums + (width << 1)), 2)
  for (let x = 0; x < width; x += 8) {
    const p = sums + (x << 1)
    const here = v128.load(p, 2)
    const three = i16x8.add(i16x8.add(here, here), here)
    const left = i16x8.shr_u(i16x8.add(i16x8.add(three, v128.load(p)), i16x8.splat(<i16>even)), 4)
    const right = i16x8.shr_u(i16x8.add(i16x8.add(three, v128.load(p, 4)), i16x8.splat(<i16>odd)), 4)
    v128.store(out + (x << 1), v128.or(left, i16x8.shl(right, 8)))
  }
}

/**
 * R = Y + 1.402 Cr, G = Y - 0.34414 Cb - 0.71414 Cr, B = Y + 1.772 Cb, with chroma relative to 128.
 *
 * jdcolor.c rounds products with factors of 16 fraction bits (for G the sum of both). For R and B factors of 14 bits
 * give the same results for every level. For G a whole Cr is subtracted separately, so the factors fit into 16 bits.
 */
export function yccToRgb(y: usize, cb: usize, cr: usize, width: i32, out: usize): void {
  const toG = pair(-22554, 65536 - 46802)
  const half = i32x4.splat(1 << 15)
  for (let x = 0; x < width; x += 8) {
    const level = words(y + x)
    const blue = i16x8.sub(words(cb + x), i16x8.splat(128))
    const red = i16x8.sub(words(cr + x), i16x8.splat(128))
    // (2 chroma * factor + 2^14) >> 15
    const r = i16x8.add(level, i16x8.q15mulr_sat_s(i16x8.add(red, red), i16x8.splat(22971)))
    const b = i16x8.add(level, i16x8.q15mulr_sat_s(i16x8.add(blue, blue), i16x8.splat(29033)))
    const less = i16x8.narrow_i32x4_s(
      i32x4.shr_s(i32x4.add(product(blue, red, toG), half), 16),
      i32x4.shr_s(i32x4.add(i32x4.dot_i16x8_s(highWords(blue, red), toG), half), 16),
    )
    const g = i16x8.add(i16x8.sub(level, red), less)
    const rg = i8x16.narrow_i16x8_u(r, g)
    const bb = i8x16.narrow_i16x8_u(b, b)
    v128.store(out, v128.shuffle<i8>(rg, bb, 0, 8, 16, 1, 9, 17, 2, 10, 18, 3, 11, 19, 4, 12, 20, 5))
    const rest = v128.shuffle<i8>(rg, bb, 13, 21, 6, 14, 22, 7, 15, 23, 0, 0, 0, 0, 0, 0, 0, 0)
    v128.store64_lane(out, rest, 0, 16)
    out += 24
  }
}
