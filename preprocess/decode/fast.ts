/** Our own decoders for the usual JPEG and PNG files: synchronous, and faster than libvips. */

import { imageFormat } from './format.ts'
import type { ImageSource } from './image_source.ts'
import { openJpeg } from './jpeg/jpeg.ts'
import { openPng } from './png.ts'
import { UnsupportedImage } from './unsupported.ts'

export interface FastSource extends ImageSource {
  /** once its rows have been read: whether they ended early because the file is damaged; no pixel is to be used then */
  readonly isDamaged: boolean
}

/**
 * Read the header of an image file; its rows are decoded when they are asked for.
 *
 * @returns undefined for an unsupported or damaged file
 */
export function openFast(bytes: Uint8Array): FastSource | undefined {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const format = imageFormat(bytes)
  try {
    if (format === 'jpeg') return flagDamage(openJpeg(file))
    if (format === 'png') return flagDamage(openPng(file))
  } catch (error) {
    if (!(error instanceof UnsupportedImage)) throw error
  }
  return undefined
}

/** The same source, whose rows end where the file proves to be damaged. */
function flagDamage(source: ImageSource): FastSource {
  let isDamaged = false
  return {
    ...source,
    get isDamaged() {
      return isDamaged
    },
    *rowChunks(box) {
      try {
        yield* source.rowChunks(box)
      } catch (error) {
        if (!(error instanceof UnsupportedImage)) throw error
        isDamaged = true
      }
    },
  }
}
