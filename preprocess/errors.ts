/** The errors that this module throws on purpose. Every message is one line that a person can act on. */

/** A model folder cannot be used as it is. The message names the file, the key, and what was expected. */
export class ConfigError extends Error {
  override name = 'ConfigError'
}

export type ImageErrorCode =
  /** not an image of a format that is decoded here */
  | 'unsupported'
  /** more pixels than the limit, or a side longer than `MAX_SIDE` */
  | 'too-large'
  /** few pixels that take long to decode, as in a JPEG file with hundreds of scans */
  | 'too-complex'
  /** cut off or damaged */
  | 'broken'

/** An image cannot be preprocessed; the message says why and what to send instead. */
export class ImageError extends Error {
  override name = 'ImageError'
  readonly code: ImageErrorCode

  constructor(code: ImageErrorCode, message: string, options?: ErrorOptions) {
    super(message, options)
    this.code = code
  }
}
