import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import { type ImageSource, sourceOf } from '../../preprocess/decode/image_source.ts'
import { type Orientation, orientPixels, orientSize } from '../../preprocess/orientation.ts'
import type { Box, Pixels } from '../../preprocess/pixels.ts'
import { FILTERS, type Filter } from '../../preprocess/resample/filters.ts'
import { resize as resizeBox } from '../../preprocess/resample/resize.ts'
import { pixelsOf } from './pixels_of.ts'

function resize(
  source: ImageSource,
  width: number,
  height: number,
  by: Filter,
  box: Box = { left: 0, top: 0, width, height },
  isPillow13 = false,
): Pixels {
  return resizeBox(source, { width, height }, { filter: by, backend: 'pil', isPillow13 }, box)
}

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

// goldens.test.ts compares the pixels with those of Pillow 12

interface Pillow13Golden {
  before: [number, number]
  after: [number, number]
  filter: Filter
  sha256: string
}

test("Pillow 13's order of axes", () => {
  const file = new URL('../fixtures/pillow13_goldens.json', import.meta.url)
  const goldens: Pillow13Golden[] = JSON.parse(readFileSync(file, 'utf8'))
  assert.ok(goldens.length > 40)
  for (const { before, after, filter: by, sha256 } of goldens) {
    const [width, height] = before
    const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => {
      const [x, y, c] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width), i % 3]
      return ((x * 37) ^ (y * 101)) + c * 53 + x * y
    })
    const resized = resize(sourceOf({ data, width, height, channels: 3 }), ...after, by, undefined, true)
    const hash = createHash('sha256').update(resized.data).digest('hex')
    assert.equal(hash.slice(0, 16), sha256, `${before} to ${after}, ${by}`)
  }
})

// uniform, unlike fast-check's doubles
const fraction = fc.nat(1000).map((thousandths) => thousandths / 1000)

/** A box of an image, from four fractions. */
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

test('a box of the resized image has the pixels of a crop of the whole', () => {
  fc.assert(
    fc.property(image, side, side, filter, boxes, (source, width, height, by, boxOf) => {
      const box = boxOf(width, height)
      assert.deepEqual(
        resize(sourceOf(source), width, height, by, box),
        pixelsOf(sourceOf(resize(sourceOf(source), width, height, by)), box),
      )
    }),
  )
})

const orientation = fc.record<Orientation>({
  swapAxes: fc.boolean(),
  flipX: fc.boolean(),
  flipY: fc.boolean(),
})

/** The same image, a few rows at a time, in memory that the next chunk overwrites. */
function inChunks(source: ImageSource, rows: number): ImageSource {
  return {
    ...source,
    *rowChunks(box) {
      const memory = new Uint8Array(2 ** 14)
      for (let row = 0; row < box.height; row += rows) {
        const height = Math.min(rows, box.height - row)
        const [chunk] = source.rowChunks({ ...box, top: box.top + row, height })
        memory.set(chunk)
        yield memory.subarray(0, chunk.length)
      }
    },
  }
}

test('an image stored rotated or flipped is resized to the same pixels as an upright one', () => {
  fc.assert(
    fc.property(
      image,
      orientation,
      fc.integer({ min: 1, max: 40 }),
      side,
      side,
      filter,
      boxes,
      fc.boolean(),
      (stored, orientation, rows, width, height, by, boxOf, isPillow13) => {
        const box = boxOf(width, height)
        const displayed = { ...sourceOf(stored), ...orientSize(stored, orientation), orientation }
        const rotated = inChunks(displayed, rows)
        const upright = sourceOf(orientPixels(stored, orientation))
        assert.deepEqual(
          resize(rotated, width, height, by, box, isPillow13),
          resize(upright, width, height, by, box, isPillow13),
        )
      },
    ),
    { numRuns: 1000 },
  )
})

test('three equal channels are resized like one', () => {
  fc.assert(
    fc.property(image, side, side, filter, (source, width, height, by) => {
      const grey: Pixels = {
        ...source,
        data: source.data.slice(0, source.width * source.height),
        channels: 1,
      }
      const data = Uint8Array.from({ length: grey.data.length * 3 }, (_, i) => grey.data[Math.floor(i / 3)])
      const rgb = resize(sourceOf({ ...grey, data, channels: 3 }), width, height, by)
      const single = resize(sourceOf(grey), width, height, by)
      assert.deepEqual(
        rgb.data.filter((_, i) => i % 3 === 1),
        single.data,
      )
    }),
  )
})

test('a flat image stays flat, and the same size changes nothing', () => {
  fc.assert(
    fc.property(
      image,
      side,
      side,
      filter,
      fc.integer({ min: 0, max: 255 }),
      (source, width, height, by, level) => {
        const flat = { ...source, data: source.data.map(() => level) }
        assert.ok(resize(sourceOf(flat), width, height, by).data.every((value) => value === level))
        assert.deepEqual(resize(sourceOf(source), source.width, source.height, by), source)
      },
    ),
  )
})
