/** Thrown by our own decoders for a file that they leave to sharp: of another kind, or damaged. Caught in open_image.ts. */
export class UnsupportedImage extends Error {}

/** @throws UnsupportedImage */
export function requireSupported(condition: unknown): asserts condition {
  if (!condition) throw new UnsupportedImage()
}
