import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { asPicture, crop, type Pixels } from '../lib/picture.ts'
import { FILTERS, resize } from '../lib/resample.ts'

const image = fc
  .record({
    width: fc.integer({ min: 1, max: 40 }),
    height: fc.integer({ min: 1, max: 40 }),
    channels: fc.constantFrom<1 | 3>(1, 3),
  })
  .chain(({ width, height, channels }) => {
    const length = width * height * channels
    return fc
      .uint8Array({ minLength: length, maxLength: length })
      .map((data): Pixels => ({ data, width, height, channels }))
  })
const side = fc.integer({ min: 1, max: 50 })
const filter = fc.constantFrom(...FILTERS)

// that the pixels are Pillow's is proven by the goldens of handler.test.ts

test('a box of the resized image is what cropping all of it gives', () => {
  // evenly, which fast-check's doubles are not
  const fraction = fc.nat(1000).map((thousandths) => thousandths / 1000)
  fc.assert(
    fc.property(
      image,
      side,
      side,
      filter,
      fc.tuple(fraction, fraction, fraction, fraction),
      (source, width, height, by, box) => {
        const left = Math.floor(box[0] * (width - 1))
        const top = Math.floor(box[1] * (height - 1))
        const part = {
          left,
          top,
          width: 1 + Math.floor(box[2] * (width - left - 1)),
          height: 1 + Math.floor(box[3] * (height - top - 1)),
        }
        assert.deepEqual(
          resize(asPicture(source), width, height, by, part),
          crop(asPicture(resize(asPicture(source), width, height, by)), part),
        )
      },
    ),
  )
})

test('three equal channels become what one becomes', () => {
  fc.assert(
    fc.property(image, side, side, filter, (source, width, height, by) => {
      const grey: Pixels = {
        ...source,
        data: source.data.slice(0, source.width * source.height),
        channels: 1,
      }
      const data = Uint8Array.from({ length: grey.data.length * 3 }, (_, i) => grey.data[Math.floor(i / 3)])
      const rgb = resize(asPicture({ ...grey, data, channels: 3 }), width, height, by)
      const single = resize(asPicture(grey), width, height, by)
      assert.deepEqual(
        rgb.data.filter((_, i) => i % 3 === 1),
        single.data,
      )
    }),
  )
})

test('a flat image stays flat, and a size that stays the same changes nothing', () => {
  fc.assert(
    fc.property(
      image,
      side,
      side,
      filter,
      fc.integer({ min: 0, max: 255 }),
      (source, width, height, by, level) => {
        const flat = { ...source, data: source.data.map(() => level) }
        assert.ok(resize(asPicture(flat), width, height, by).data.every((value) => value === level))
        assert.deepEqual(resize(asPicture(source), source.width, source.height, by), source)
      },
    ),
  )
})
