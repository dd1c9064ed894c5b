import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { convert, fromBytes, type Tensor, toNumbers } from '../lib/inference/tensor.ts'

const half = (bits: Uint16Array): Tensor => ({ dtype: 'float16', dims: [bits.length], data: bits })
const double = (numbers: Float64Array): Tensor => ({
  dtype: 'float64',
  dims: [numbers.length],
  data: numbers,
})
const bitsOf = (...numbers: number[]) => [...convert(double(Float64Array.from(numbers)), 'float16').data]

/** Every finite non-negative half-precision number, in order. */
const FINITE = Float64Array.from(toNumbers(half(Uint16Array.from({ length: 0x7c00 }, (_, i) => i))))

test('float16: the values of IEEE 754', () => {
  const named = { 0: 0, 1: 2 ** -24, 1023: 1023 * 2 ** -24, 1024: 2 ** -14, 13653: 0.333251953125 }
  const more = { 15360: 1, 15361: 1 + 2 ** -10, 49152: -2, 31743: 65504, 31744: Infinity, 64512: -Infinity }
  for (const [bits, number] of Object.entries({ ...named, ...more })) {
    assert.equal(toNumbers(half(Uint16Array.of(Number(bits))))[0], number)
    assert.deepEqual(bitsOf(number), [Number(bits)])
  }
  assert.ok(Object.is(toNumbers(half(Uint16Array.of(0x8000)))[0], -0))
  assert.deepEqual(bitsOf(-0), [0x8000])
  assert.ok(Number.isNaN(toNumbers(half(Uint16Array.of(0x7e01)))[0]))
  assert.ok(Number.isNaN(toNumbers(half(Uint16Array.from(bitsOf(Number.NaN))))[0]))
})

test('float16: numbers are rounded to the nearest, ties to even', () => {
  for (let i = 0; i < FINITE.length; i++) {
    const next = FINITE[i + 1] ?? 65536
    assert.ok(next > FINITE[i])
    const middle = (FINITE[i] + next) / 2
    assert.deepEqual(bitsOf(FINITE[i], -FINITE[i], middle), [i, i + 0x8000, i + (i % 2)])
  }
  const between = fc.record({
    i: fc.nat(FINITE.length - 2),
    share: fc.double({ min: 0, max: 1, noNaN: true }),
  })
  fc.assert(
    fc.property(between, ({ i, share }) => {
      const number = FINITE[i] + share * (FINITE[i + 1] - FINITE[i])
      fc.pre(Math.abs(share - 0.5) > 1e-9)
      assert.deepEqual(bitsOf(number), [share < 0.5 ? i : i + 1])
    }),
    { numRuns: 10_000 },
  )
})

test('any byte but 0 is true', () => {
  assert.deepEqual(fromBytes('bool', Uint8Array.of(0, 1, 2, 255)), Uint8Array.of(0, 1, 1, 1))
})
