import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import sharp from 'sharp'
import { openJpeg } from '../../preprocess/decode/jpeg/jpeg.ts'
import { UnsupportedImage } from '../../preprocess/decode/unsupported.ts'
import type { Box, Pixels } from '../../preprocess/pixels.ts'
import { pixelsOf } from './pixels_of.ts'

const flat = () => sharp({ create: { width: 70, height: 30, channels: 3, background: '#a5f' } })
/** All pixels of a file by our own decoder. */
function decoded(file: Uint8Array): Pixels {
  return pixelsOf(openJpeg(Buffer.from(file)))
}

/** The same by libjpeg, through sharp. */
async function truthOf(file: Uint8Array, channels: 1 | 3): Promise<Pixels> {
  const { data, info } = await sharp(file, { failOn: 'error' })
    .autoOrient()
    .toColourspace(channels === 1 ? 'b-w' : 'srgb')
    .raw()
    .toBuffer({ resolveWithObject: true })
  return { data: new Uint8Array(data), width: info.width, height: info.height, channels }
}

const FIXTURES = JSON.parse(readFileSync(new URL('../fixtures/jpegs.json', import.meta.url), 'utf8'))

for (const { name, file, sha256, ...size } of FIXTURES)
  test(`${name}: the pixels are Pillow's`, () => {
    const { data, ...decodedSize } = decoded(Buffer.from(file, 'base64'))
    assert.deepEqual(decodedSize, size)
    assert.equal(createHash('sha256').update(data).digest('hex'), sha256)
  })

/** Insert a segment before all others. */
function insert(file: Buffer, marker: number, body: string): Buffer {
  const length = body.length + 2
  const head = Buffer.of(0xff, marker, length >> 8, length & 255)
  return Buffer.concat([file.subarray(0, 2), head, Buffer.from(body, 'latin1'), file.subarray(2)])
}

/** Exif data of one entry, an orientation. @param value its type, count and value */
const orientationOf = (value: string) => `Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12${value}\0\0\0\0`

/** Files of noise, sharp or smooth, with an orientation. */
const anyFile = fc
  .record({
    width: fc.integer({ min: 1, max: 70 }),
    height: fc.integer({ min: 1, max: 50 }),
    channels: fc.constantFrom<1 | 3>(1, 3, 3),
    contrast: fc.integer({ min: 0, max: 255 }),
    blur: fc.constantFrom(0, 0.5, 3),
    options: fc.record({
      quality: fc.integer({ min: 1, max: 100 }),
      chromaSubsampling: fc.constantFrom('4:2:0', '4:4:4'),
      optimiseCoding: fc.boolean(),
    }),
    orientation: fc.integer({ min: 1, max: 8 }),
    seed: fc.integer(),
  })
  .map(({ width, height, channels, contrast, blur, options, orientation, seed }) => async () => {
    const data = Uint8Array.from({ length: width * height * channels }, (_, i) => {
      const random = Math.imul(i ^ seed, 2654435761) >>> 15
      return (random % 256) & contrast
    })
    const noise = sharp(data, { raw: { width, height, channels } })
    const colours = channels === 1 ? 'b-w' : 'srgb'
    const upright = await (blur ? noise.blur(blur) : noise).toColourspace(colours).jpeg(options).toBuffer()
    const file = insert(
      upright,
      0xe1,
      orientationOf(`\0\x03\0\0\0\x01\0${String.fromCharCode(orientation)}\0\0`),
    )
    return { file, width, channels }
  })

/** libjpeg upsamples rows of one or two chroma samples by another rule: left to sharp. */
function isTooNarrow({ width, channels }: { width: number; channels: number }): boolean {
  return channels === 3 && width <= 4
}

/** Uniform in 0 to 1, unlike fast-check's doubles. */
const fraction = fc.nat(1000).map((thousandths) => thousandths / 1000)

test('every encoded file decodes to the pixels of libjpeg', async () => {
  await fc.assert(
    fc.asyncProperty(anyFile, async (make) => {
      const { file, ...kind } = await make()
      fc.pre(!isTooNarrow(kind))
      assert.deepEqual(decoded(file), await truthOf(file, kind.channels))
    }),
    { numRuns: 300 },
  )
})

/** The pixels of a box, one by one. */
function cropped({ data, width, channels }: Pixels, box: Box): Pixels {
  const length = box.width * box.height * channels
  const from = (i: number) => {
    const [pixel, channel] = [Math.floor(i / channels), i % channels]
    const [x, y] = [box.left + (pixel % box.width), box.top + Math.floor(pixel / box.width)]
    return data[(y * width + x) * channels + channel]
  }
  return {
    data: Uint8Array.from({ length }, (_, i) => from(i)),
    width: box.width,
    height: box.height,
    channels,
  }
}

test('a box has the pixels of a crop of the whole image', async () => {
  await fc.assert(
    fc.asyncProperty(anyFile, fraction, fraction, fraction, fraction, async (make, x, y, w, h) => {
      const { file, ...kind } = await make()
      fc.pre(!isTooNarrow(kind))
      const image = openJpeg(file)
      const left = Math.floor(x * (image.width - 1))
      const top = Math.floor(y * (image.height - 1))
      const box = {
        left,
        top,
        width: 1 + Math.floor(w * (image.width - left - 1)),
        height: 1 + Math.floor(h * (image.height - top - 1)),
      }
      assert.deepEqual(pixelsOf(image, box), cropped(decoded(file), box))
    }),
  )
})

test('a damaged file is left to sharp, or decodes to the pixels of libjpeg', async () => {
  let [read, left] = [0, 0]
  const change = fc.tuple(fraction, fc.integer({ min: 0, max: 255 }))
  await fc.assert(
    fc.asyncProperty(anyFile, fc.array(change, { minLength: 1, maxLength: 3 }), async (make, changes) => {
      const { file, ...kind } = await make()
      for (const [where, byte] of changes) file[Math.floor(2 + where * (file.length - 3))] = byte
      let pixels: Pixels | undefined
      try {
        pixels = decoded(file)
        read++
      } catch (error) {
        assert.ok(error instanceof UnsupportedImage, String(error))
        left++
      }
      // coefficients far out of range overflow differently on other machines
      if (pixels && process.arch === 'x64') assert.deepEqual(pixels, await truthOf(file, kind.channels))
    }),
    { numRuns: 500 },
  )
  assert.ok(read > 20 && left > 20, `${read} read, ${left} left`)
})

test('values out of range overflow as in libjpeg', { skip: process.arch !== 'x64' }, async () => {
  const tableStart = Buffer.of(0xff, 0xdb, 0, 67)
  await fc.assert(
    fc.asyncProperty(anyFile, fc.integer({ min: 100, max: 255 }), async (make, quantizer) => {
      const { file, ...kind } = await make()
      fc.pre(!isTooNarrow(kind))
      // the first quantizer of a table is the factor of a block's mean
      for (let at = file.indexOf(tableStart); at >= 0; at = file.indexOf(tableStart, at + 1))
        file[at + 5] = quantizer
      assert.deepEqual(decoded(file), await truthOf(file, kind.channels))
    }),
    { numRuns: 1000 },
  )
})

const unsupported: [what: string, file: () => Promise<Buffer>][] = [
  ['progressive', () => flat().jpeg({ progressive: true }).toBuffer()],
  ['CMYK', () => flat().toColourspace('cmyk').jpeg().toBuffer()],
  [
    'an orientation outside the Exif data',
    async () => insert(await plain(), 0xe1, 'Exif\0\0II*\0\xff\0\0\0'),
  ],
  [
    'an orientation of 9',
    async () => insert(await plain(), 0xe1, orientationOf('\0\x03\0\0\0\x01\0\x09\0\0')),
  ],
  [
    'an orientation of another type',
    async () => insert(await plain(), 0xe1, orientationOf('\0\x04\0\0\0\x01\0\0\0\x01')),
  ],
  [
    'two different orientations',
    async () => insert(await plain(), 0xe1, orientationOf('\0\x03\0\0\0\x01\0\x06\0\0')),
  ],
  ["Adobe's RGB", async () => insert(await plain(), 0xee, 'Adobe\0\x64\0\0\0\0\0')],
  ['a segment of another kind', async () => insert(await plain(), 0xdc, '\0\x08')],
  ['truncated data', async () => (await plain()).subarray(0, -40)],
  ['no end marker', async () => (await plain()).subarray(0, -2)],
  ['nothing after the first marker', async () => Buffer.of(0xff, 0xd8, 0xff)],
  ['an impossible Huffman code', async () => changed(0xc4, 5, 3)],
  ['a quantizer of 0', async () => changed(0xdb, 5, 0)],
  ['a quantizer table of 16 bits', async () => changed(0xdb, 4, 0x10)],
  ['a quantizer table number out of range', async () => changed(0xdb, 4, 4)],
  ['a Huffman table number out of range', async () => changed(0xc4, 4, 4)],
  ['a Huffman table of an unknown class', async () => changed(0xc4, 4, 0x20)],
  ['no components', async () => NO_COMPONENTS],
  ['a quantizer table that is missing', async () => changed(0xc0, 12, 3)],
  ['a Huffman table that is missing', async () => changed(0xda, 6, 0x33)],
  ['12 bits a sample', async () => changed(0xc0, 4, 12)],
  ['chroma of full height alone', async () => changed(0xc0, 11, 0x12)],
  ['components called R, G and B', async () => named('RGB')],
  ['fewer rows than the header says', async () => changed(0xc0, 6, 200)],
]

/** A frame and a scan of nothing. */
const NO_COMPONENTS = Buffer.from('ffd8ffc00008080010001000ffda000600003f00ffd9', 'hex')

const plain = () => flat().withMetadata({ orientation: 1 }).jpeg().toBuffer()

/** Set one byte of the first segment with a marker; the offset counts from the marker. */
async function changed(marker: number, offset: number, byte: number): Promise<Buffer> {
  const file = await plain()
  const at = file.indexOf(Buffer.of(0xff, marker))
  assert.ok(at > 0 && file[at + offset] !== byte)
  file[at + offset] = byte
  return file
}

/** Give the components other ids, in the frame and in the scan. */
async function named(names: string): Promise<Buffer> {
  const file = await plain()
  const [frame, scan] = [0xc0, 0xda].map((marker) => file.indexOf(Buffer.of(0xff, marker)))
  for (let i = 0; i < 3; i++) file[frame + 10 + i * 3] = file[scan + 5 + i * 2] = names.charCodeAt(i)
  return file
}

test('the file that the cases below change is supported', async () => {
  assert.deepEqual(decoded(await plain()), await truthOf(await plain(), 3))
  assert.deepEqual(decoded(await named('YUV')), await truthOf(await plain(), 3))
})

for (const [what, make] of unsupported)
  test(`${what} is left to sharp`, async () => {
    const file = await make()
    assert.throws(() => decoded(file), UnsupportedImage)
  })

test('bytes between the data and the end are ignored', async () => {
  const file = await plain()
  const padded = Buffer.concat([file.subarray(0, -2), Buffer.alloc(3), file.subarray(-2)])
  assert.deepEqual(decoded(padded), await truthOf(padded, 3))
})
