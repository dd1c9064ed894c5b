import assert from 'node:assert/strict'
import { test } from 'node:test'
import sharp, { type JpegOptions } from 'sharp'
import { readJpegHeader } from '../lib/jpeg.ts'

const picture = () =>
  sharp({ create: { width: 70, height: 30, channels: 3, background: '#a5f' } }).withMetadata({
    orientation: 6,
  })
const jpeg = (options: JpegOptions = {}) => picture().jpeg(options).toBuffer()

const usual: [what: string, file: () => Promise<Buffer>][] = [
  ['baseline', () => jpeg()],
  ['progressive', () => jpeg({ progressive: true })],
  ['full colour resolution', () => jpeg({ chromaSubsampling: '4:4:4' })],
  ['grey', () => picture().toColourspace('b-w').jpeg().toBuffer()],
  ['CMYK', () => picture().toColourspace('cmyk').jpeg().toBuffer()],
]

for (const [what, make] of usual)
  test(`${what}: the header says what libvips finds`, async () => {
    const file = await make()
    const { width, height, space } = await sharp(file).metadata()
    assert.deepEqual(readJpegHeader(file), { width, height, space })
  })

test('a header that is cut off, or is none, is left to the decoder', async () => {
  const file = await jpeg()
  const frame = file.indexOf(Buffer.of(0xff, 0xc0))
  assert.ok(frame > 0)
  for (let length = 0; length < frame + 10; length++)
    assert.equal(readJpegHeader(file.subarray(0, length)), undefined)
  for (const [offset, byte] of [
    [1, 0xc4], // no frame but a table
    [1, 0xc9], // arithmetic coding
    [4, 12], // bits a sample
    [9, 2], // components
  ]) {
    const odd = Buffer.from(file)
    odd[frame + offset] = byte
    assert.equal(readJpegHeader(odd), undefined)
  }
})
