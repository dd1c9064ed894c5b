import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { asPicture, crop, type Picture, type Pixels, type Turn, turned } from '../preprocess/pixels.ts'
import { FILTERS, resize } from '../preprocess/resample.ts'

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

// evenly, which fast-check's doubles are not
const fraction = fc.nat(1000).map((thousandths) => thousandths / 1000)

/** A part of a picture, by four fractions of it. */
const boxes = fc
  .tuple(fraction, fraction, fraction, fraction)
  .map((box) => (width: number, height: number) => {
    const left = Math.floor(box[0] * (width - 1))
    const top = Math.floor(box[1] * (height - 1))
    return {
      left,
      top,
      width: 1 + Math.floor(box[2] * (width - left - 1)),
      height: 1 + Math.floor(box[3] * (height - top - 1)),
    }
  })

test('a box of the resized image is what cropping all of it gives', () => {
  fc.assert(
    fc.property(image, side, side, filter, boxes, (source, width, height, by, boxOf) => {
      const box = boxOf(width, height)
      assert.deepEqual(
        resize(asPicture(source), width, height, by, box),
        crop(asPicture(resize(asPicture(source), width, height, by)), box),
      )
    }),
  )
})

const turn = fc.record<Turn>({ isTransposed: fc.boolean(), mirrorsX: fc.boolean(), mirrorsY: fc.boolean() })

/** The same picture, its rows some at a time, in memory that the next ones overwrite. */
function inStrips(picture: Picture, rows: number): Picture {
  return {
    ...picture,
    *strips(box) {
      const some = new Uint8Array(2 ** 14)
      for (let row = 0; row < box.height; row += rows) {
        const height = Math.min(rows, box.height - row)
        const [strip] = picture.strips({ ...box, top: box.top + row, height })
        some.set(strip)
        yield some.subarray(0, strip.length)
      }
    },
  }
}

test('a picture that is stored turned, and gives some rows at a time, becomes what it becomes upright', () => {
  fc.assert(
    fc.property(
      image,
      turn,
      fc.integer({ min: 1, max: 40 }),
      side,
      side,
      filter,
      boxes,
      (stored, turn, rows, width, height, by, boxOf) => {
        const box = boxOf(width, height)
        const lying = inStrips(asPicture(stored, turn), rows)
        assert.deepEqual(
          resize(lying, width, height, by, box),
          resize(asPicture(turned(stored, turn)), width, height, by, box),
        )
      },
    ),
    { numRuns: 1000 },
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
