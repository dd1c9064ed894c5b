/**
 * PNG files of 8 bits a sample, decoded; a small one takes a sixth of libvips' time.
 *
 * Source: RFC 2083, and Pillow's `convert("RGB")`: alpha is dropped, gamma and profiles are ignored.
 */
import { inflateSync } from 'node:zlib'
import { UPRIGHT } from '../orientation.ts'
import type { Box } from '../pixels.ts'
import { mapRows } from '../wasm/pixel_kernel.ts'
import type { ImageSource } from './image_source.ts'
import { type PngFile, readChunks, transparentColour } from './png_chunks.ts'
import { release } from './release.ts'
import { requireSupported, UnsupportedImage } from './unsupported.ts'

/** By colour type: bytes per pixel in the file, and channels once palette and alpha are gone. */
const COLOUR_TYPES: Record<number, { bytes: number; channels: 1 | 3 }> = {
  0: { bytes: 1, channels: 1 },
  2: { bytes: 3, channels: 3 },
  3: { bytes: 1, channels: 3 },
  4: { bytes: 2, channels: 1 },
  6: { bytes: 4, channels: 3 },
}
/** A smaller buffer would be a part of the one that all small buffers share, and could not be released. */
const MIN_INFLATED = 2 ** 16
/** Filter types are 0 to 4. */
const LAST_FILTER = 4

/**
 * Open a PNG file of 8 bits a sample, not interlaced.
 *
 * @returns its rows; reading them throws UnsupportedImage if the compressed data are damaged
 * @throws UnsupportedImage for every other kind, and for malformed chunks
 */
export function openPng(file: Buffer): ImageSource {
  const chunks = readChunks(file)
  const { header, palette } = chunks
  const [width, height] = [header.readUInt32BE(0), header.readUInt32BE(4)]
  const [depth, colourType, compression, filtering, interlacing] = header.subarray(8)
  const colour = COLOUR_TYPES[colourType]
  requireSupported(depth === 8 && colour && compression === 0 && filtering === 0 && interlacing === 0)
  requireSupported(width * height > 0)
  const { bytes, channels } = colour
  const isPalette = bytes < channels
  requireSupported(!isPalette || (palette && palette.length <= 256 * 3))
  return {
    width,
    height,
    channels,
    transparent: transparentColour(file),
    orientation: UPRIGHT,
    rowChunks(box) {
      let rows = unfilteredRows(chunks, width * bytes, height, bytes)
      const stage = { chunks: rows, rowBytes: width * bytes, outRowBytes: width * channels }
      if (isPalette)
        rows = mapRows({ ...stage, tables: [inFours(palette!)] }, (kernel, rows, source, out, [colours]) =>
          kernel.expandPalette(source, rows * width, colours, out),
        )
      else if (bytes > channels)
        rows = mapRows(stage, (kernel, rows, source, out) =>
          kernel.dropChannels(source, rows * width, bytes, channels, out),
        )
      return cutRows(rows, width * channels, box)
    },
  }
}

/** Rows of a filter type and bytes, which are differences to what the filter predicts, back to pixels. */
function* unfilteredRows(
  { data }: PngFile,
  rowBytes: number,
  height: number,
  pixelBytes: number,
): Iterable<Uint8Array> {
  const filtered = inflate(data, height * (1 + rowBytes))
  try {
    for (let at = 0; at < filtered.length; at += 1 + rowBytes) requireSupported(filtered[at] <= LAST_FILTER)
    yield* mapRows(
      {
        chunks: [filtered],
        rowBytes: 1 + rowBytes,
        outRowBytes: rowBytes,
        tables: [new Uint8Array(rowBytes)],
      },
      (kernel, rows, source, out, [above]) => kernel.unfilter(source, rowBytes, rows, pixelBytes, above, out),
    )
  } finally {
    release(filtered.buffer as ArrayBuffer)
  }
}

/** @throws UnsupportedImage if the stream is not whole, or not exactly this long */
function inflate(data: Buffer[], length: number): Buffer {
  try {
    const inflated = inflateSync(data.length === 1 ? data[0] : Buffer.concat(data), {
      maxOutputLength: length,
      chunkSize: Math.max(length + 1, MIN_INFLATED), // one output buffer, never full
    })
    if (inflated.length === length) return inflated
  } catch {} // damaged, or longer
  throw new UnsupportedImage()
}

/** A palette of four bytes a colour; colours that it lacks are black. */
function inFours(palette: Uint8Array): Uint8Array {
  const colours = new Uint8Array(256 * 4)
  for (let at = 0, i = 0; at + 3 <= palette.length; at += 3, i += 4)
    colours.set(palette.subarray(at, at + 3), i)
  return colours
}

/** The rows of a box. All others are decoded too: filters refer to the row above, and damage must not depend on the box. */
function* cutRows(chunks: Iterable<Uint8Array>, rowBytes: number, { top, height }: Box) {
  let y = 0
  for (const chunk of chunks) {
    const wanted = chunk.subarray(Math.max(top - y, 0) * rowBytes, Math.max(top + height - y, 0) * rowBytes)
    if (wanted.length > 0) yield wanted
    y += chunk.length / rowBytes
  }
}
