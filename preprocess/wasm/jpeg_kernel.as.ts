/**
 * The inner loops of decoding a baseline JPEG file, in AssemblyScript: compiled to WebAssembly.
 *
 * Source: ITU-T T.81. It leaves the arithmetic open: this is libjpeg's (jidctint.c, jdsample.c, jdcolor.c), since Pillow's
 * pixels come from it. Loads and stores may reach up to 31 bytes past the data: the caller leaves room for them.
 */

import { words } from './simd.as.ts'

// Entropy-coded data (T.81, annex F)

/**
 * Remove byte stuffing (the 0x00 after each 0xFF), and split the scan at its restart markers.
 *
 * @param segments receives the address and the length in bytes of each segment, i32
 * @param maxSegments how many there is room for
 * @param out receives the segments, each aligned to 4 bytes, as little-endian words of 32 bits, and followed by 8 to 11
 * free bytes. After the last one there must be room for an MCU of the longest codes: that much is read of damaged
 * data before it is noticed
 * @returns the number of segments; 0 if restart markers are out of sequence, or the end of the image is missing
 */
export function unstuff(source: usize, end: usize, segments: usize, maxSegments: i32, out: usize): i32 {
  const first = out
  let start = out
  for (let count = 0; count < maxSegments; ) {
    const bytes = v128.load(source)
    if (!v128.any_true(i8x16.eq(bytes, i8x16.splat(-1))) && source + 16 <= end) {
      v128.store(out, bytes)
      source += 16
      out += 16
      continue
    }
    const byte = load<u8>(source)
    const next = load<u8>(source, 1)
    if (source + 2 > end) return 0
    if (byte !== 0xff || next === 0) {
      store<u8>(out++, byte)
      source += byte === 0xff ? 2 : 1
      continue
    }
    store<i32>(segments, <i32>start)
    store<i32>(segments, <i32>(out - start), 4)
    segments += 8
    // reads past the end of a segment give zeros
    v128.store(out, i64x2.splat(0))
    start = (out + 11) & ~3
    out = start
    if (next === EOI) {
      swapBytes(first, out)
      return count + 1
    }
    if (next !== RST0 + (count & 7)) return 0
    count++
    source += 2
  }
  return 0
}

const RST0 = 0xd0
const EOI = 0xd9

/** Words of 32 bits from big-endian to little-endian. */
function swapBytes(from: usize, to: usize): void {
  const order = i8x16(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12)
  for (; from < to; from += 16) v128.store(from, i8x16.swizzle(v128.load(from), order))
}

// A Huffman table has an i32 entry for each value of the next LOOK bits:
//   bits 0 to 6   how many bits are consumed
//   bit 7         IS_OPEN: the coefficient's bits do not fit into LOOK. Without any other bit: neither does the code
//   bits 8 to 15  how many zeros come before the coefficient
//   bits 16 to 31 the coefficient, or under IS_OPEN its number of bits
// After the entries, by code length: the first longer code, left-aligned to 16 bits; the offset from a code to its symbol's
// place; then the symbols.

const LOOK = 10
const ENTRIES = 4 << LOOK
const OFFSETS = ENTRIES + 17 * 4
const SYMBOLS = OFFSETS + 17 * 4
const IS_OPEN = 0x80
/** as a run of zeros: the rest of the block is zero */
const REST = 128

/** Bytes of a table. */
export const TABLE_BYTES: i32 = SYMBOLS + 256

/**
 * @param counts how many codes have 1, 2, ... 16 bits
 * @param symbols in the order of their codes: the zeros before a coefficient in the upper half, its bits in the lower
 * @returns whether the code is valid
 */
export function buildHuffmanTable(counts: usize, symbols: usize, out: usize): bool {
  for (let i = 0; i < ENTRIES; i += 4) store<i32>(out + i, IS_OPEN)
  let code: u32 = 0
  let index = 0
  for (let length = 1; length <= 16; length++) {
    store<i32>(out + (length << 2), index - <i32>code, OFFSETS)
    for (let i = <i32>load<u8>(counts + length - 1); i > 0; i--, index++, code++) {
      const symbol = load<u8>(symbols + index)
      const isKnown = (symbol & 15) > 0 || symbol === 0 || symbol === 0xf0
      // a code must not be all ones
      if (code + 1 >= 1 << length || index > 255 || !isKnown) return false
      store<u8>(out + index, symbol, SYMBOLS)
      if (length <= LOOK) setEntries(out, code << (LOOK - length), length, symbol)
    }
    store<i32>(out + (length << 2), code << (16 - length), ENTRIES)
    code <<= 1
  }
  return true
}

function runOf(symbol: i32): i32 {
  return symbol === 0 ? REST : symbol >> 4
}

function openEntry(length: i32, symbol: i32): i32 {
  return length | IS_OPEN | (runOf(symbol) << 8) | ((symbol & 15) << 16)
}

/** Set the entries of one code: all values that begin with it. */
function setEntries(out: usize, first: i32, length: i32, symbol: i32): void {
  const size = symbol & 15
  const rest = LOOK - length
  for (let i = 0; i < 1 << rest; i++) {
    const entry =
      size <= rest
        ? (length + size) | (runOf(symbol) << 8) | (extend(i >> (rest - size), size) << 16)
        : openEntry(length, symbol)
    store<i32>(out + ((first + i) << 2), entry)
  }
}

/** A coefficient from its bits: negative if they begin with 0; of no bits it is 0 (T.81, F.2.2.1). */
@inline
function extend(bits: i32, size: i32): i32 {
  // without a branch: the sign is random, and would be mispredicted half of the time
  return bits + (((bits >> (size - 1)) - 1) & (1 - (1 << size)))
}

/** The open entry for a code longer than LOOK bits. @returns 0 if no code begins with these bits */
function longCode(table: usize, next: i32): i32 {
  for (let length = LOOK + 1; length <= 16; length++) {
    if (next < load<i32>(table + (length << 2), ENTRIES)) {
      const index = (next >> (16 - length)) + load<i32>(table + (length << 2), OFFSETS)
      return openEntry(length, <i32>load<u8>(table + index, SYMBOLS))
    }
  }
  return 0
}

/** The bit reader: the next bits, left-aligned; how many are valid; the address of those that follow. */
let bits: u64 = 0
let bitCount: i32 = 0
let at: usize = 0
/** the current segment, and the MCUs until the next restart marker */
let nextSegment: usize = 0
let segmentStart: usize = 0
let segmentBytes: i32 = 0
let untilRestart: i32 = 0
let restartEvery: i32 = 0

/** @param interval MCUs between restart markers; 0 if there are none */
export function beginScan(segments: usize, interval: i32): void {
  nextSegment = segments
  restartEvery = interval > 0 ? interval : i32.MAX_VALUE
  startSegment()
}

function startSegment(): void {
  segmentStart = load<i32>(nextSegment)
  segmentBytes = load<i32>(nextSegment, 4)
  nextSegment += 8
  at = segmentStart
  bits = 0
  bitCount = 0
  untilRestart = restartEvery
}

/** @returns how many bytes of the segment have not been read; negative if reads went past its end */
export function bytesLeft(): i32 {
  const taken = ((<i32>(at - segmentStart)) << 3) - bitCount
  return segmentBytes - ((taken + 7) >> 3)
}

// The offsets in a component's description: eight i32
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
 * @param components `count` descriptions: the addresses of the DC and AC tables, of the quantization table (64 i16, row by
 * row) and of the rows to decode to; the bytes of such a row; blocks in an MCU across and down; the last DC coefficient
 * @param mcus in the row
 * @param from first MCU whose pixels are wanted
 * @param to first MCU after them
 * @param block scratch of 64 i16, all zero
 * @param zigzag offset in `block` of each coefficient, in bytes, u8
 * @returns whether the data were intact
 */
export function decodeMcuRow(
  components: usize, count: i32, mcus: i32, from: i32, to: i32, block: usize, zigzag: usize
): bool {
  for (let mcu = 0; mcu < mcus; mcu++) {
    if (untilRestart-- === 0) {
      if (bytesLeft() !== 0) return false
      startSegment()
      untilRestart--
      for (let c = 0; c < count; c++) store<i32>(components + c * COMPONENT_BYTES, 0, PREDICTION)
    }
    const isWanted = mcu >= from && mcu < to
    for (let c = 0; c < count; c++) {
      const component = components + c * COMPONENT_BYTES
      const across = load<i32>(component, ACROSS)
      const down = load<i32>(component, DOWN)
      const stride = load<i32>(component, STRIDE)
      for (let y = 0; y < down; y++) {
        for (let x = 0; x < across; x++) {
          const last = readCoefficients(component, block, zigzag)
          if (last < 0) return false
          if (!isWanted) memory.fill(block, 0, 128)
          else {
            const out = <usize>load<i32>(component, PLANE) + y * 8 * stride + ((mcu * across + x) << 3)
            const quants = <usize>load<i32>(component, QUANTS)
            if (last === 0) flat(block, quants, out, stride)
            else inverse(block, quants, out, stride)
          }
        }
      }
    }
    if (at > segmentStart + segmentBytes + 8) return false
  }
  return true
}

/** Read the coefficients of a block. @returns the index of the last one; -1 if the data are damaged */
function readCoefficients(component: usize, block: usize, zigzag: usize): i32 {
  let ahead = bits
  let left = bitCount
  let p = at
  let table = <usize>load<i32>(component, DC)
  let k = -1
  let last = 0
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
      // DC is coded as the difference to the last block's
      value += load<i32>(component, PREDICTION)
      store<i32>(component, value, PREDICTION)
      store<i16>(block, value)
      table = <usize>load<i32>(component, AC)
      k = 0
      continue
    }
    k += run + 1
    if (k > 63) {
      if (k < REST) return -1
      break
    }
    store<i16>(block + load<u8>(zigzag + k), value)
    last = k
  } while (k < 63)
  bits = ahead
  bitCount = left
  at = p
  return last
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
function flat(block: usize, quants: usize, out: usize, stride: i32): void {
  const dc = <i32>(<i16>((<i32>load<i16>(block) * <i32>load<i16>(quants)) << PASS1_BITS))
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

/** a * factor + b * other factor in 32 bits, for the lower (upper) half of the lanes. */
@inline
function low(a: v128, b: v128, factors: v128): v128 {
  return i32x4.dot_i16x8_s(lowWords(a, b), factors)
}

@inline
function high(a: v128, b: v128, factors: v128): v128 {
  return i32x4.dot_i16x8_s(highWords(a, b), factors)
}

@inline
function pair(first: i32, second: i32): v128 {
  return i32x4.splat((first & 0xffff) | (second << 16))
}

/** even + odd and even - odd, scaled back to 16 bits, to the rows `first` and `last`. */
@inline
function butterfly(
  block: usize, first: i32, last: i32, evenLow: v128, evenHigh: v128, oddLow: v128, oddHigh: v128, shift: i32
): void {
  const half = i32x4.splat(1 << (shift - 1))
  const low = i32x4.add(evenLow, half)
  const high = i32x4.add(evenHigh, half)
  const sum = i16x8.narrow_i32x4_s(
    i32x4.shr_s(i32x4.add(low, oddLow), shift),
    i32x4.shr_s(i32x4.add(high, oddHigh), shift),
  )
  const difference = i16x8.narrow_i32x4_s(
    i32x4.shr_s(i32x4.sub(low, oddLow), shift),
    i32x4.shr_s(i32x4.sub(high, oddHigh), shift),
  )
  v128.store(block + (first << 4), sum)
  v128.store(block + (last << 4), difference)
}

/** One pass of the inverse DCT: along y, all eight columns at once. */
@inline
function columns(block: usize, shift: i32): void {
  const in0 = v128.load(block)
  const in1 = v128.load(block, 16)
  const in2 = v128.load(block, 32)
  const in3 = v128.load(block, 48)
  const in4 = v128.load(block, 64)
  const in5 = v128.load(block, 80)
  const in6 = v128.load(block, 96)
  const in7 = v128.load(block, 112)

  const two = pair(F_0_541 + F_0_765, F_0_541)
  const six = pair(F_0_541, F_0_541 - F_1_847)
  const tmp3Low = low(in2, in6, two)
  const tmp3High = high(in2, in6, two)
  const tmp2Low = low(in2, in6, six)
  const tmp2High = high(in2, in6, six)
  const sum = i16x8.add(in0, in4)
  const difference = i16x8.sub(in0, in4)
  const tmp0Low = i32x4.shl(i32x4.extend_low_i16x8_s(sum), CONST_BITS)
  const tmp0High = i32x4.shl(i32x4.extend_high_i16x8_s(sum), CONST_BITS)
  const tmp1Low = i32x4.shl(i32x4.extend_low_i16x8_s(difference), CONST_BITS)
  const tmp1High = i32x4.shl(i32x4.extend_high_i16x8_s(difference), CONST_BITS)

  const z3 = i16x8.add(in7, in3)
  const z4 = i16x8.add(in5, in1)
  const toZ3 = pair(F_1_175 - F_1_961, F_1_175)
  const toZ4 = pair(F_1_175, F_1_175 - F_0_390)
  const z3Low = low(z3, z4, toZ3)
  const z3High = high(z3, z4, toZ3)
  const z4Low = low(z3, z4, toZ4)
  const z4High = high(z3, z4, toZ4)
  const seven = pair(F_0_298 - F_0_899, -F_0_899)
  const one = pair(-F_0_899, F_1_501 - F_0_899)
  const five = pair(F_2_053 - F_2_562, -F_2_562)
  const three = pair(-F_2_562, F_3_072 - F_2_562)

  butterfly(
    block, 0, 7, i32x4.add(tmp0Low, tmp3Low), i32x4.add(tmp0High, tmp3High),
    i32x4.add(low(in7, in1, one), z4Low), i32x4.add(high(in7, in1, one), z4High), shift,
  )
  butterfly(
    block, 1, 6, i32x4.add(tmp1Low, tmp2Low), i32x4.add(tmp1High, tmp2High),
    i32x4.add(low(in5, in3, three), z3Low), i32x4.add(high(in5, in3, three), z3High), shift,
  )
  butterfly(
    block, 2, 5, i32x4.sub(tmp1Low, tmp2Low), i32x4.sub(tmp1High, tmp2High),
    i32x4.add(low(in5, in3, five), z4Low), i32x4.add(high(in5, in3, five), z4High), shift,
  )
  butterfly(
    block, 3, 4, i32x4.sub(tmp0Low, tmp3Low), i32x4.sub(tmp0High, tmp3High),
    i32x4.add(low(in7, in1, seven), z3Low), i32x4.add(high(in7, in1, seven), z3High), shift,
  )
}

/** Transpose a block. */
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
  // interleave the first half of the rows with the second, three times
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

/** A block of coefficients to 8 x 8 levels; leaves the block zero. */
function inverse(block: usize, quants: usize, out: usize, stride: i32): void {
  const first = i16x8.mul(v128.load(block), v128.load(quants))
  v128.store(block, first)
  let others = i64x2.splat(0)
  for (let i = 16; i < 128; i += 16) {
    const row = i16x8.mul(v128.load(block + i), v128.load(quants + i))
    v128.store(block + i, row)
    others = v128.or(others, row)
  }
  if (v128.any_true(others)) columns(block, CONST_BITS - PASS1_BITS)
  else {
    // DC of each column only: the same result, except for values so large that they overflow
    const row = i16x8.shl(first, PASS1_BITS)
    for (let i = 0; i < 128; i += 16) v128.store(block + i, row)
  }
  transpose(block)
  columns(block, CONST_BITS + PASS1_BITS + 3)
  // two columns of levels each; interleaved three times, two rows each
  const a0 = levels(block)
  const a1 = levels(block + 32)
  const a2 = levels(block + 64)
  const a3 = levels(block + 96)
  const b0 = lowBytes(a0, a2)
  const b1 = highBytes(a0, a2)
  const b2 = lowBytes(a1, a3)
  const b3 = highBytes(a1, a3)
  const c0 = lowBytes(b0, b2)
  const c1 = highBytes(b0, b2)
  const c2 = lowBytes(b1, b3)
  const c3 = highBytes(b1, b3)
  storeRows(lowBytes(c0, c2), out, stride)
  storeRows(highBytes(c0, c2), out + 2 * stride, stride)
  storeRows(lowBytes(c1, c3), out + 4 * stride, stride)
  storeRows(highBytes(c1, c3), out + 6 * stride, stride)
}

/** Sixteen numbers as levels; leaves them zero. */
@inline
function levels(block: usize): v128 {
  const bytes = i8x16.narrow_i16x8_s(v128.load(block), v128.load(block, 16))
  v128.store(block, i64x2.splat(0))
  v128.store(block, i64x2.splat(0), 16)
  return i8x16.add(bytes, i8x16.splat(-128))
}

@inline
function lowBytes(a: v128, b: v128): v128 {
  return v128.shuffle<i8>(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23)
}

@inline
function highBytes(a: v128, b: v128): v128 {
  return v128.shuffle<i8>(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31)
}

@inline
function storeRows(two: v128, out: usize, stride: i32): void {
  v128.store64_lane(out, two, 0)
  v128.store64_lane(out + stride, two, 1)
}

// Upsampling (jdsample.c, "fancy") and colours (jdcolor.c)

/** 3 * near + far, i16, for upsampling along y; the first and the last are repeated beyond the ends. */
export function blendRows(near: usize, far: usize, width: i32, out: usize): void {
  for (let x = 0; x < width; x += 8) {
    const a = words(near + x)
    const b = words(far + x)
    v128.store(out + ((x + 1) << 1), i16x8.add(i16x8.add(i16x8.add(a, a), a), b))
  }
  repeatEnds(out, width)
}

/** The row itself, i16, with its ends repeated likewise. */
export function copyRow(row: usize, width: i32, out: usize): void {
  for (let x = 0; x < width; x += 8)
    v128.store(out + ((x + 1) << 1), words(row + x))
  repeatEnds(out, width)
}

function repeatEnds(row: usize, width: i32): void {
  store<i16>(row, load<i16>(row, 2))
  store<i16>(row + ((width + 1) << 1), load<i16>(row + (width << 1)))
}

/**
 * Two levels from each number: 3 * itself + its left or right neighbour, rounded.
 *
 * @param row `width` numbers of `blendRows` or `copyRow`
 * @param even added before the division, for the left one of the two
 * @param odd likewise, for the right one
 * @param shift log2 of the divisor
 */
export function doubleWidth(row: usize, width: i32, even: i32, odd: i32, shift: i32, out: usize): void {
  const toEven = i16x8.splat(<i16>even)
  const toOdd = i16x8.splat(<i16>odd)
  for (let x = 0; x < width; x += 8) {
    const p = row + (x << 1)
    const here = v128.load(p, 2)
    const three = i16x8.add(i16x8.add(here, here), here)
    const left = i16x8.shr_u(i16x8.add(i16x8.add(three, v128.load(p)), toEven), shift)
    const right = i16x8.shr_u(i16x8.add(i16x8.add(three, v128.load(p, 4)), toOdd), shift)
    v128.store(out + (x << 1), v128.or(left, i16x8.shl(right, 8)))
  }
}

/**
 * R = Y + 1.402 Cr, G = Y - 0.34414 Cb - 0.71414 Cr, B = Y + 1.772 Cb, with chroma relative to 128.
 *
 * jdcolor.c rounds products with factors of 16 fraction bits (for G the sum of both). For R and B factors of 14 bits
 * give the same for every level. For G a whole Cr is subtracted separately, so that the factors fit into 16 bits.
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
      i32x4.shr_s(i32x4.add(low(blue, red, toG), half), 16),
      i32x4.shr_s(i32x4.add(high(blue, red, toG), half), 16),
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
