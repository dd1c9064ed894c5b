/** Image formats by their first bytes. */

/** Those that are decoded, for messages. */
export const FORMATS = 'JPEG, PNG, WebP, GIF, AVIF or TIFF'

export type ImageFormat = 'jpeg' | 'png' | 'webp' | 'gif' | 'avif' | 'tiff' | 'heic'

/** Formats that are recognized, but not decoded, by the first bytes of their files. */
const OTHERS: [name: string, ...starts: (string | RegExp)[]][] = [
  ['HEIC', /^.{4}ftyp/s],
  ['BMP', 'BM'],
  ['ICO', '\0\0\x01\0', '\0\0\x02\0'],
  ['PPM', /^P[1-7fF]\s/],
  ['JPEG 2000', '\0\0\0\x0cjP  \r\n\x87\n', '\xff\x4f\xff\x51'],
  ['JPEG XL', '\xff\x0a', '\0\0\0\x0cJXL '],
  ['SVG', /^(\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*|<!--.*?-->\s*)*<svg/s],
  ['PDF', '%PDF'],
  ['Photoshop', '8BPS'],
]

/** The name of a format that is not decoded here; undefined if the bytes are in no known format. */
export function otherFormat(bytes: Uint8Array): string | undefined {
  const head = headOf(bytes)
  const isStart = (start: string | RegExp) =>
    typeof start === 'string' ? head.startsWith(start) : start.test(head)
  return OTHERS.find(([, ...starts]) => starts.some(isStart))?.[0]
}

function headOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, 64)).toString('latin1')
}

/** The format that the first bytes announce; undefined for anything else. HEIC is recognized, but not decoded. */
export function imageFormat(bytes: Uint8Array): ImageFormat | undefined {
  const head = headOf(bytes)
  if (head.startsWith('\xff\xd8\xff')) return 'jpeg'
  if (head.startsWith('\x89PNG\r\n\x1a\n')) return 'png'
  if (head.startsWith('GIF87a') || head.startsWith('GIF89a')) return 'gif'
  if (head.startsWith('RIFF') && head.slice(8, 12) === 'WEBP') return 'webp'
  // with 43 instead of 42, offsets have 64 bits
  if (/^(II[\x2a\x2b]\0|MM\0[\x2a\x2b])/.test(head)) return 'tiff'
  if (head.slice(4, 8) === 'ftyp') {
    const boxLength = head.charCodeAt(3) // major brand, version, then compatible brands, four bytes each
    const brands = head.slice(8, boxLength).match(/.{4}/gs) ?? []
    return brands.some((brand) => brand === 'avif' || brand === 'avis') ? 'avif' : 'heic'
  }
  return undefined
}
