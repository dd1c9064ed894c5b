/** Image files to 8-bit pixels, as `Image.open(...)`, EXIF orientation and `convert("RGB")` of Pillow give them. */
import { isMainThread } from 'node:worker_threads'
import type { Sharp } from 'sharp'
import { messageOf, RequestError } from '../../lib/inference/errors.ts'
import { toBytes } from '../../lib/inference/tensor.ts'
import { asPicture, NotPlain, type Picture, type Pixels } from '../pixels.ts'
import { FORMATS, imageFormat } from './format.ts'
import { decodeJpeg } from './jpeg.ts'
import { readJpegHeader } from './jpeg_file.ts'
import { decodePng } from './png.ts'

/** The formats that reach the decoder; libvips' other loaders (SVG, PDF, ...) stay shut whatever a file claims. */
const LOADERS = ['Jpeg', 'Png', 'Webp', 'Nsgif', 'Heif', 'Tiff']

/** Any file of MAX_PIXELS takes less. */
const MAX_SECONDS = 30

let loading: Promise<typeof import('sharp').default> | undefined

/**
 * sharp, loaded when it is first wanted: the server starts sooner without it.
 *
 * In the main thread this also shuts the loaders, for the whole process: it must have been called there before any
 * other thread decodes. A thread that did it again would shut all of them for a moment.
 */
export function loadDecoder() {
  loading ??= import('sharp').then(({ default: sharp }) => {
    // One image is seen once: libvips' cache would only hold memory. Its own threads would compete with ours.
    sharp.cache(false)
    sharp.concurrency(1)
    if (isMainThread) {
      sharp.block({ operation: ['VipsForeignLoad'] })
      sharp.unblock({ operation: LOADERS.map((name) => `VipsForeignLoad${name}`) })
    }
    return sharp
  })
  return loading
}

/**
 * Decode an image file.
 *
 * EXIF orientation is applied, alpha dropped (not composited), ICC profiles ignored, 16-bit samples reduced
 * to their high byte, CMYK converted as Pillow does. Of an animation, the first frame.
 *
 * @param maxPixels width x height allowed, told from the header before anything is decoded
 * @param use what is done with the picture, whose rows may be decoded only now; done again with another picture of the
 * same pixels where they turn out not to be what our own decoders expect
 * @param name how errors call the file
 * @returns what `use` does
 * @throws RequestError 415 not an image of a known format, 413 too many pixels, 422 broken
 */
export async function decode<Result>(
  bytes: Uint8Array,
  maxPixels: number,
  use: (picture: Picture) => Result,
  name = 'the image',
): Promise<Result> {
  const format = imageFormat(bytes)
  if (format === undefined || format === 'heic') {
    const what = format ? 'is HEIC, which is not decoded here' : 'does not start as an image file'
    throw new RequestError(415, `${name} ${what}: send ${FORMATS}`)
  }
  try {
    if (format === 'jpeg') return use(decodeJpeg(bytes, maxPixels))
    if (format === 'png') return use(decodePng(bytes, maxPixels))
  } catch (error) {
    if (!(error instanceof NotPlain)) throw error
  }
  return use(asPicture(await decodeAny(bytes, format, maxPixels, name)))
}

/** By sharp. */
async function decodeAny(
  bytes: Uint8Array,
  format: string,
  maxPixels: number,
  name: string,
): Promise<Pixels> {
  const sharp = await loadDecoder()
  const image = sharp(bytes, { ignoreIcc: true, failOn: 'error', limitInputPixels: false })
  try {
    const header = (format === 'jpeg' && readJpegHeader(toBytes(bytes))) || (await image.metadata())
    const { width, height } = header
    if (width * height > maxPixels) {
      const size = `${width} x ${height} = ${width * height} pixels`
      throw new RequestError(
        413,
        `${name} has ${size}, more than the ${maxPixels} of MAX_PIXELS: send it smaller`,
      )
    }
    return await toPixels(image.autoOrient(), header.space)
  } catch (error) {
    if (error instanceof RequestError) throw error
    throw new RequestError(422, `${name} is a broken ${format.toUpperCase()} file: ${firstLine(error)}`)
  }
}

async function toPixels(image: Sharp, space: string): Promise<Pixels> {
  if (space === 'cmyk') return fromCmyk(image)
  // grey stays one channel: a third of the work
  const colours = space === 'b-w' ? 'b-w' : 'srgb'
  const { data, info } = await rawPixels(image.removeAlpha().toColourspace(colours))
  return { data, width: info.width, height: info.height, channels: info.channels === 1 ? 1 : 3 }
}

/** Not `toUint8Array()`, which never frees its pixels (sharp 0.35.5). */
function rawPixels(image: Sharp) {
  return image.timeout({ seconds: MAX_SECONDS }).raw().toBuffer({ resolveWithObject: true })
}

/** Pillow's naive CMYK to RGB (libImaging/Convert.c); libvips has un-inverted Adobe's CMYK already. */
async function fromCmyk(image: Sharp): Promise<Pixels> {
  const { data, info } = await rawPixels(image.pipelineColourspace('cmyk').toColourspace('cmyk'))
  const { width, height } = info
  const rgb = new Uint8Array(width * height * 3)
  for (let i = 0, p = 0; i < rgb.length; p += 4) {
    const notBlack = 255 - data[p + 3]
    for (let c = 0; c < 3; c++) {
      const product = data[p + c] * notBlack + 128
      rgb[i++] = Math.max(0, notBlack - (((product >> 8) + product) >> 8))
    }
  }
  return { data: rgb, width, height, channels: 3 }
}

/** Pixels as a PNG file, grey or RGB as they are. */
export async function encodePng({ data, width, height, channels }: Pixels): Promise<Buffer> {
  const sharp = await loadDecoder()
  const image = sharp(data, { raw: { width, height, channels } })
  return image
    .toColourspace(channels === 1 ? 'b-w' : 'srgb')
    .png()
    .toBuffer()
}

function firstLine(error: unknown): string {
  return messageOf(error).split('\n')[0].replace(/: *$/, '')
}
