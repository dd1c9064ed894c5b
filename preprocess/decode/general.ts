/** Every supported file, by sharp: pixels as Pillow's `Image.open`, `exif_transpose` and `convert("RGB")` make them. */
import { isMainThread } from 'node:worker_threads'
import type { Sharp } from 'sharp'
import { ImageError } from '../errors.ts'
import { orientationOf, orientPixels, orientSize } from '../orientation.ts'
import type { Pixels, Size } from '../pixels.ts'
import type { ImageFormat } from './format.ts'
import { readGifHeader } from './gif.ts'
import { countScannedPlanes } from './jpeg/segments.ts'
import { xmpOrientation } from './metadata.ts'
import { pngOrientation, transparentColour, withoutMetadata } from './png_chunks.ts'

/** The loaders of libvips that may run; all others (SVG, PDF, ...) stay blocked, whatever a file claims to be. */
const LOADERS = ['Jpeg', 'Png', 'Webp', 'Nsgif', 'Heif', 'Tiff']

/** CMYK and two more, as in Pillow (TiffImagePlugin.py). */
const MAX_CHANNELS = 6

/** Stops formats that are decoded in strips; libjpeg's work on a progressive file cannot be interrupted. */
const TIMEOUT_SECONDS = 30

let loading: Promise<typeof import('sharp').default> | undefined

/**
 * Load sharp, which takes a moment; otherwise the first image that needs it does.
 *
 * In the main thread this also blocks libvips' other loaders, for the whole process. A program that preprocesses in
 * worker threads calls it in the main thread first: blocking again would briefly block every loader.
 */
export function loadSharp() {
  loading ??= import('sharp').then(({ default: sharp }) => {
    sharp.cache(false) // no image is decoded twice
    sharp.concurrency(1) // libvips' threads would compete with those that preprocess
    if (isMainThread) {
      sharp.block({ operation: ['VipsForeignLoad'] })
      sharp.unblock({ operation: LOADERS.map((name) => `VipsForeignLoad${name}`) })
    }
    return sharp
  })
  return loading
}

export interface GeneralImage extends Size {
  /** see `countScannedPlanes`; 0 for other formats than JPEG */
  scannedPlanes: number
  /** @throws ImageError 'broken' */
  decode(): Promise<Pixels>
}

/**
 * Read the header of an image file.
 *
 * EXIF orientation is applied, alpha dropped (not composited), ICC profiles ignored, 16-bit samples reduced to their high
 * byte, CMYK converted as Pillow does, transparent pixels of a GIF file have their palette's colour. Of an animation or a
 * multi-page file, the first image.
 *
 * @throws ImageError 'broken'
 */
export async function openGeneral(bytes: Uint8Array, format: ImageFormat): Promise<GeneralImage> {
  const given = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const file = format === 'png' ? withoutMetadata(given) : given
  const sharp = await loadSharp()
  const image = sharp(file, {
    ignoreIcc: true,
    failOn: 'error',
    limitInputPixels: false,
    limitInputChannels: MAX_CHANNELS,
  })
  const { autoOrient, space, depth, orientation: exif, xmp } = await image.metadata().catch(broken)
  // besides that in Exif data, which libvips applies; those of PNG files are left out above. An AVIF file's is not known:
  // libvips applies it, and says nothing
  const fromXmp = exif === undefined && format !== 'avif' ? xmpOrientation(xmp) : 1
  const orientation = orientationOf(format === 'png' ? pngOrientation(given) : fromXmp)
  return {
    ...orientSize(autoOrient, orientation),
    scannedPlanes: format === 'jpeg' ? countScannedPlanes(file) : 0,
    decode: () => decode().catch(broken),
  }

  async function decode(): Promise<Pixels> {
    if (format === 'gif') return fromGif(image, file)
    const upright = image.autoOrient()
    const stored = space === 'cmyk' ? fromCmyk(upright, depth === 'ushort') : toPixels(upright, space)
    const pixels = orientPixels(await stored, orientation)
    return { ...pixels, transparent: format === 'png' ? transparentColour(file) : undefined }
  }

  function broken(cause: unknown): never {
    const message = `the image is a broken ${format.toUpperCase()} file, cut off or damaged: save or export it again`
    throw new ImageError('broken', message, { cause })
  }
}

async function toPixels(image: Sharp, space?: string): Promise<Pixels> {
  // grey stays one channel: a third of the work
  const colours = space === 'b-w' ? 'b-w' : 'srgb'
  const { data, info } = await rawPixels(image.removeAlpha().toColourspace(colours))
  return { data, width: info.width, height: info.height, channels: info.channels === 1 ? 1 : 3 }
}

/** `toBuffer()`, since `toUint8Array()` never frees its pixels (sharp 0.35.5). */
function rawPixels(image: Sharp, depth: 'uchar' | 'ushort' = 'uchar') {
  return image.timeout({ seconds: TIMEOUT_SECONDS }).raw({ depth }).toBuffer({ resolveWithObject: true })
}

/**
 * Pillow's CMYK to RGB (libImaging/Convert.c); libvips has already undone the inversion of Adobe's files.
 *
 * @param is16Bit the samples' high bytes are used, as in Pillow
 */
async function fromCmyk(image: Sharp, is16Bit: boolean): Promise<Pixels> {
  const cmyk = image.pipelineColourspace('cmyk').toColourspace('cmyk')
  const { data, info } = await rawPixels(cmyk, is16Bit ? 'ushort' : 'uchar')
  const { width, height, channels } = info // a TIFF file can have more than four
  const sampleBytes = is16Bit ? 2 : 1
  const rgb = data.subarray(0, width * height * 3) // in place: three bytes are written for at least four read
  for (let i = 0, p = sampleBytes - 1; i < rgb.length; p += channels * sampleBytes) {
    const notBlack = 255 - data[p + 3 * sampleBytes]
    for (let c = 0; c < 3; c++) {
      const product = data[p + c * sampleBytes] * notBlack + 128
      rgb[i++] = Math.max(0, notBlack - (((product >> 8) + product) >> 8))
    }
  }
  return { data: rgb, width, height, channels: 3 }
}

/** Pillow's colours for the pixels that libvips leaves black: transparent ones, and those that the image does not cover. */
async function fromGif(image: Sharp, file: Buffer): Promise<Pixels> {
  const header = readGifHeader(file)
  const { width, height } = await image.metadata()
  if (!header || (header.box.width === width && header.box.height === height && !header.transparent))
    return toPixels(image)
  const { background, transparent } = header
  const { left, top, ...covered } = header.box
  const { data } = await rawPixels(image.toColourspace('srgb').ensureAlpha())
  const rgb = data.subarray(0, width * height * 3) // in place: three bytes are written for four read
  for (let i = 0, y = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const isCovered = x >= left && x < left + covered.width && y >= top && y < top + covered.height
      const isBackground = !isCovered || data[i * 4 + 3] === 0
      for (let c = 0; c < 3; c++) rgb[i * 3 + c] = isBackground ? background[c] : data[i * 4 + c]
    }
  }
  return { data: rgb, width, height, channels: 3, transparent }
}
