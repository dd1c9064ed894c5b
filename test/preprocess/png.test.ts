import assert from 'node:assert/strict'
import { test } from 'node:test'
import { deflateSync } from 'node:zlib'
import fc from 'fast-check'
import sharp from 'sharp'
import { openPng } from '../../preprocess/decode/png.ts'
import { UnsupportedImage } from '../../preprocess/decode/unsupported.ts'
import { pixelsOf } from './pixels_of.ts'
import { chunk, type Png, pngFile, SIGNATURE } from './png_file.ts'

const decoded = (file: Buffer) => pixelsOf(openPng(file))

/** bytes per pixel, by colour type */
const PIXEL_BYTES = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }
const FILTERS = 5

const png = fc
  .record({
    width: fc.integer({ min: 1, max: 70 }),
    height: fc.integer({ min: 1, max: 12 }),
    colourType: fc.constantFrom<keyof typeof PIXEL_BYTES>(0, 2, 3, 4, 6),
  })
  .chain(({ width, height, colourType }) => {
    const length = height * (1 + width * PIXEL_BYTES[colourType])
    return fc
      .uint8Array({ minLength: length, maxLength: length })
      .map((filtered): Png => ({ width, height, colourType, filtered: withFilters(filtered, height) }))
  })

function withFilters(rows: Uint8Array, height: number): Uint8Array {
  const rowBytes = rows.length / height
  for (let at = 0; at < rows.length; at += rowBytes) rows[at] %= FILTERS
  return rows
}

test('every filter and colour type decodes to the pixels of libpng', async () => {
  await fc.assert(
    fc.asyncProperty(png, async (image) => {
      const file = pngFile(image)
      const channels = image.colourType === 0 || image.colourType === 4 ? 1 : 3
      const { data } = await sharp(file)
        .removeAlpha()
        .toColourspace(channels === 1 ? 'b-w' : 'srgb')
        .raw()
        .toBuffer({ resolveWithObject: true })
      const { width, height } = image
      assert.deepEqual(decoded(file), { data: new Uint8Array(data), width, height, channels })
    }),
    { numRuns: 300 },
  )
})

const grey: Png = { width: 40, height: 3, colourType: 0, filtered: new Uint8Array(3 * 41) }

test('an image of many row chunks decodes to the pixels of libpng', async () => {
  const [width, height] = [1100, 900]
  const rows = Uint8Array.from({ length: height * (1 + width * 3) }, (_, i) => (i * 2654435761) >>> 13)
  const file = pngFile({ width, height, colourType: 2, filtered: withFilters(rows, height) })
  const expected = await sharp(file).raw().toBuffer()
  assert.ok(expected.equals(decoded(file).data))
})

test('a colour that the palette lacks is black, as in Pillow', () => {
  const filtered = new Uint8Array([0, 1, 2, 255])
  const file = pngFile(
    { width: 3, height: 1, colourType: 3, filtered },
    { palette: new Uint8Array(9).fill(7) },
  )
  assert.deepEqual([...decoded(file).data], [7, 7, 7, 7, 7, 7, 0, 0, 0])
})

/** Flip one bit of the byte at an offset from the end. */
function changed(file: Buffer, offset: number): Buffer {
  file[file.length + offset] ^= 1
  return file
}

/** A file with its palette after the first half of the data. */
function withPaletteLast(): Buffer {
  const file = pngFile({ ...grey, colourType: 3 })
  const [palette, data, end] = ['PLTE', 'IDAT', 'IDAT'].map(
    (name, i) => (i < 2 ? file.indexOf(name) : file.lastIndexOf(name)) - 4,
  )
  return Buffer.concat([
    file.subarray(0, palette),
    file.subarray(data, end),
    file.subarray(palette, data),
    file.subarray(end),
  ])
}

/** A text chunk of XMP. */
const xmp = (orientation: number) =>
  chunk('tEXt', Buffer.from(`XML:com.adobe.xmp\0tiff:Orientation="${orientation}"`))

test('XMP that leaves the image upright is no reason to leave it to sharp', () => {
  assert.deepEqual(decoded(pngFile(grey, { extra: xmp(1) })), decoded(pngFile(grey)))
})

const unsupported: [what: string, file: Buffer][] = [
  ['interlaced', pngFile(grey, { interlacing: 1 })],
  ['16 bits a sample', pngFile(grey, { depth: 16 })],
  ['4 bits a sample', pngFile(grey, { depth: 4 })],
  ['an orientation', pngFile(grey, { extra: chunk('eXIf', Buffer.alloc(8)) })],
  ['an orientation in XMP', pngFile(grey, { extra: xmp(6) })],
  ['an animation', pngFile(grey, { extra: chunk('acTL', Buffer.alloc(8)) })],
  ['a critical chunk of another kind', pngFile(grey, { extra: chunk('ABCD', Buffer.alloc(8)) })],
  ['an unknown filter', pngFile({ ...grey, filtered: new Uint8Array(3 * 41).fill(5) })],
  ['too few rows', pngFile({ ...grey, height: 4 })],
  ['too many rows', pngFile({ ...grey, height: 2 })],
  ['truncated data', pngFile(grey, { data: deflateSync(grey.filtered).subarray(0, -3) })],
  [
    'a palette of too many colours',
    pngFile({ ...grey, colourType: 3 }, { palette: new Uint8Array(257 * 3) }),
  ],
  ['no end chunk', pngFile(grey).subarray(0, -12)],
  ['a wrong checksum', changed(pngFile(grey), -13)],
  ['nothing after the signature', SIGNATURE],
  ['a width of 0', pngFile({ ...grey, width: 0 })],
  ['a palette after the data', withPaletteLast()],
]

for (const [what, file] of unsupported)
  test(`${what} is left to sharp`, () => {
    assert.throws(() => decoded(file), UnsupportedImage)
  })
