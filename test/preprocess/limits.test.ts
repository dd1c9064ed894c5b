import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { deflateSync } from 'node:zlib'
import sharp from 'sharp'
import { countScannedPlanes } from '../../preprocess/decode/jpeg/segments.ts'
import {
  ImageError,
  type ImageErrorCode,
  openFast,
  preprocess,
  type Recipe,
  readRecipe,
  toTensor,
} from '../../preprocess/index.ts'
import { MAX_SCANNED_PLANES, MAX_SIDE } from '../../preprocess/open_image.ts'
import { chunk, pngFile } from './png_file.ts'
import { progressiveJpeg, type Scan } from './progressive.ts'

const LIMITS = { maxPixels: 50_000_000 }

function recipeOf(json: Record<string, unknown>): Recipe {
  const input = { name: 'x', dtype: 'float32', dims: ['n', 1, 'h', 'w'] }
  return readRecipe({ preprocessor: { path: 'recipe', json } }, { input })!
}
const SMALL = recipeOf({ size: { height: 8, width: 8 }, image_mean: 0.5, image_std: 0.5 })

async function refused(
  file: Uint8Array,
  code: ImageErrorCode,
  pattern: RegExp,
  recipe = SMALL,
  limits = LIMITS,
) {
  await assert.rejects(preprocess(file, recipe, limits), (error: unknown) => {
    assert.ok(error instanceof ImageError, String(error))
    assert.equal(error.code, code)
    assert.match(error.message, pattern)
    assert.doesNotMatch(error.message, /vips|libpng|\n/i)
    return true
  })
}

/** A black image of 1 bit per pixel. */
function black(width: number, height: number): Buffer {
  const filtered = new Uint8Array((1 + Math.ceil(width / 8)) * height)
  return pngFile({ width, height, colourType: 0, filtered }, { depth: 1 })
}

/** A black image of 8 bits per pixel, which our own decoder supports. */
function plain(width: number, height: number): Buffer {
  return pngFile({ width, height, colourType: 0, filtered: new Uint8Array((1 + width) * height) })
}

// first: the process's peak of memory must not be an earlier test's
describe('small files that decompress to a lot', () => {
  test('PNG text is not decompressed', async () => {
    const text = Buffer.concat([Buffer.from('a\0\0', 'latin1'), deflateSync(Buffer.alloc(7_900_000, 97))])
    const extra = Buffer.concat(new Array(100).fill(chunk('zTXt', text)))
    const filtered = new Uint8Array(2 * 17)
    const before = process.resourceUsage().maxRSS
    const file = pngFile({ width: 8, height: 2, colourType: 0, filtered }, { depth: 16, extra })
    assert.equal((await preprocess(file, SMALL, LIMITS)).data.length, 64)
    assert.ok(process.resourceUsage().maxRSS - before < 300_000, 'in kB; libpng would keep 800 MB')
  })

  test('only the first of many GIF frames is decoded', async () => {
    const head = Buffer.from('GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff', 'latin1')
    const frame = Buffer.from('\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0', 'latin1')
    const file = Buffer.concat([head, Buffer.alloc(frame.length * 100_000, frame), Buffer.from(';')])
    assert.equal((await preprocess(file, SMALL, LIMITS)).data.length, 64)
  })

  test('a GIF canvas of 4 gigapixels', async () => {
    const file = Buffer.from(
      'GIF89a\xff\xff\xff\xff\x80\0\0\0\0\0\xff\xff\xff\x2c\0\0\0\0\xff\xff\xff\xff\0\x02\x02\x44\x01\0;',
      'latin1',
    )
    await refused(file, 'too-large', /4290 megapixels/)
  })

  test('only the first of many TIFF pages is decoded', async () => {
    const file = tiffOfPages(5000)
    assert.equal((await preprocess(file, SMALL, LIMITS)).data.length, 64)
  })

  test('interlaced PNG of 49 megapixels in 50 kB', async () => {
    const filtered = new Uint8Array(49_000_000 + 4 * 14_000)
    const file = pngFile({ width: 7000, height: 7000, colourType: 0, filtered }, { interlacing: 1 })
    assert.equal((await preprocess(file, SMALL, LIMITS)).data.length, 64)
  })
})

/** Each page is one grey pixel. */
function tiffOfPages(count: number): Buffer {
  const tags = [256, 257, 258, 259, 262, 273, 277, 278, 279]
  const values = [1, 1, 8, 1, 1, 4, 1, 1, 1]
  const pageBytes = 2 + tags.length * 12 + 4
  const file = Buffer.alloc(8 + count * pageBytes)
  file.write('II*\0', 'latin1')
  file.writeUInt32LE(8, 4)
  for (let page = 0, at = 8; page < count; page++, at += pageBytes) {
    file.writeUInt16LE(tags.length, at)
    for (const [i, tag] of tags.entries()) {
      const entry = at + 2 + i * 12
      file.writeUInt16LE(tag, entry)
      file.writeUInt16LE(4, entry + 2)
      file.writeUInt32LE(1, entry + 4)
      file.writeUInt32LE(values[i], entry + 8)
    }
    file.writeUInt32LE(page === count - 1 ? 0 : at + pageBytes, at + pageBytes - 4)
  }
  return file
}

describe('pixels', () => {
  test('more than allowed, in either decoder', async () => {
    await refused(
      black(12_000, 9_000),
      'too-large',
      /^the image has 108 megapixels; the limit is 50 \(MAX_PIXELS\)/,
    )
    await refused(plain(50, 40), 'too-large', /2000 pixels; the limit is 1999/, SMALL, { maxPixels: 1999 })
    assert.equal((await preprocess(plain(50, 40), SMALL, { maxPixels: 2000 })).data.length, 64)
  })

  test('fewer in AVIF, whose decoder takes more memory', async () => {
    const flat = sharp({ create: { width: 40, height: 30, channels: 3, background: '#a5f' } })
    const avif = await flat.avif().toBuffer()
    await refused(avif, 'too-large', /limit for AVIF is 0.0012, 0.6 x MAX_PIXELS/, SMALL, {
      maxPixels: 1999,
    })
    assert.equal((await preprocess(avif, SMALL, { maxPixels: 2000 })).data.length, 64)
  })

  test('a side that is too long', async () => {
    await refused(black(1, MAX_SIDE + 1), 'too-large', /is 1x65536; the longest side allowed is 65535/)
    await refused(black(MAX_SIDE + 1, 1), 'too-large', /is 65536x1;/)
    await refused(plain(MAX_SIDE + 1, 1), 'too-large', /is 65536x1;/)
    assert.equal((await preprocess(plain(MAX_SIDE, 1), SMALL, LIMITS)).data.length, 64)
  })

  test('an image that a resize makes too large', async () => {
    const recipe = recipeOf({
      size: { shortest_edge: 224 },
      image_processor_type: 'CLIPImageProcessor',
      do_center_crop: false,
      image_mean: 0,
      image_std: 1,
    })
    for (const file of [plain(1, 2000), black(1, 2000)])
      await refused(
        file,
        'too-large',
        /1x2000 becomes 224x448000 pixels .* 100 megapixels; the limit is 50 .*aspect ratio/,
        recipe,
      )
  })
})

/** A first scan of all AC coefficients, then bit by bit: the slowest case for libjpeg. */
function refinements(component: number): Scan[] {
  const components = [component]
  const refine = Array.from(
    { length: 13 },
    (_, i): Scan => ({ components, band: [1, 63], bits: [13 - i, 12 - i] }),
  )
  return [{ components, band: [1, 63], bits: [0, 13] }, ...refine]
}

describe('scans of a JPEG file', () => {
  const dc: Scan = { components: [1, 2, 3], band: [0, 0], bits: [0, 0] }
  const scans = [dc, ...[1, 2, 3].flatMap(refinements)]

  test('their planes are counted', async () => {
    const flat = sharp({ create: { width: 40, height: 30, channels: 3, background: '#a5f' } })
    assert.equal(countScannedPlanes(await flat.jpeg().toBuffer()), 3)
    assert.equal(countScannedPlanes(await flat.jpeg({ progressive: true }).toBuffer()), 14)
    assert.equal(countScannedPlanes(progressiveJpeg(16, 16, 3, scans)), 45)
    // application data has no scans; fill bytes and restart markers are skipped
    const odd =
      'ffd8 ffe0 0006 ffda ffda ffc0 000b 08 0010 0010 01 011100 ffff ffda 0008 01 0100 003f00 00 ffd0 ff00 ffd9'
    assert.equal(countScannedPlanes(Buffer.from(odd.replaceAll(' ', ''), 'hex')), 1)
  })

  test('too many for a large image are refused; a small one is decoded', async () => {
    await refused(
      progressiveJpeg(7000, 7000, 3, scans),
      'too-complex',
      /45 scans of 49 megapixels; the limit is 30:/,
    )
    assert.equal((await preprocess(progressiveJpeg(700, 700, 3, scans), SMALL, LIMITS)).data.length, 64)
    const bomb = progressiveJpeg(7000, 7000, 1, [
      { ...dc, components: [1] },
      ...new Array(1000).fill({ components: [1], band: [1, 63], bits: [0, 0] }),
    ])
    assert.ok(bomb.length < 200_000)
    await refused(bomb, 'too-complex', /1001 scans .* save it as baseline JPEG/)
  })

  test('the slowest file that is accepted takes seconds', async () => {
    const accepted = scans.slice(0, MAX_SCANNED_PLANES - 2)
    const file = progressiveJpeg(7000, 7000, 3, accepted)
    const { user } = process.cpuUsage()
    await preprocess(file, SMALL, LIMITS)
    const seconds = (process.cpuUsage().user - user) / 1e6
    assert.ok(seconds < 10, `${seconds} s`) // 2 s on the machine where the limit was set
  })
})

describe('the fast decoders', () => {
  const pixelsOf = (file: Uint8Array) => openFast(file, SMALL, LIMITS)?.toPixels()

  test('give the same tensor, or nothing for unsupported and damaged files', async () => {
    const flat = sharp({ create: { width: 70, height: 30, channels: 3, background: '#a5f' } })
    for (const file of [await flat.jpeg().toBuffer(), plain(70, 30)]) {
      assert.equal(openFast(file, SMALL, LIMITS)?.pixels, 2100)
      assert.deepEqual(toTensor(pixelsOf(file)!, SMALL), await preprocess(file, SMALL, LIMITS))
      assert.equal(pixelsOf(file.subarray(0, -20)), undefined)
    }
    assert.equal(openFast(await flat.jpeg({ progressive: true }).toBuffer(), SMALL, LIMITS), undefined)
    assert.equal(openFast(await flat.webp().toBuffer(), SMALL, LIMITS), undefined)
  })

  test('find damage in the last row', async () => {
    const noise = Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => (i * 2654435761) >>> 11)
    const jpeg = await sharp(noise, { raw: { width: 64, height: 64, channels: 3 } })
      .jpeg()
      .toBuffer()
    const cut = Buffer.concat([jpeg.subarray(0, -40), Buffer.of(0xff, 0xd9)])
    assert.equal(pixelsOf(cut), undefined)
    await refused(jpeg.subarray(0, jpeg.length / 2), 'broken', /broken JPEG file, cut off or damaged: save/)
  })

  test('refuse bytes that are not an image', () => {
    const hasCode = (code: string) => (error: unknown) => error instanceof ImageError && error.code === code
    assert.throws(() => pixelsOf(Buffer.from('hello')), hasCode('unsupported'))
    const heic = Buffer.from('\0\0\0\x18ftypheic\0\0\0\0mif1heic', 'latin1')
    assert.throws(() => pixelsOf(heic), hasCode('unsupported'))
  })

  test('name the other formats', () => {
    const starts = {
      BMP: 'BM\x3e\0\0\0',
      ICO: '\0\0\x01\0\x01\0',
      PPM: 'P6\n4 4\n255\n',
      'JPEG 2000': '\0\0\0\x0cjP  \r\n\x87\n',
      'JPEG XL': '\xff\x0a\xfa\x1f',
      SVG: '<?xml version="1.0"?>\n<svg xmlns="">',
      HEIC: '\0\0\0\x18ftypheic\0\0\0\0mif1heic',
    }
    for (const [name, start] of Object.entries(starts))
      assert.throws(
        () => pixelsOf(Buffer.from(start, 'latin1')),
        new RegExp(`the image is ${name}, which is not supported: send JPEG, PNG`),
      )
  })
})
