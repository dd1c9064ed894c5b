/** The example images of a model folder, besides `sample.png`: the files in its `samples/`. */
import { readdirSync, statSync } from 'node:fs'
import { extname, join } from 'node:path'

/** Limits, because samples are kept in memory once they have been requested. */
const MAX_SAMPLES = 12
const MAX_BYTES = 2 ** 20
/** as browsers show them */
const EXTENSIONS = ['.png', '.jpg', '.jpeg', '.webp']

/**
 * @param dir the model folder
 * @param note called with a line if some are left out
 * @returns paths of images, in the order of their names
 */
export function listSamples(dir: string, note: (message: string) => void): string[] {
  const folder = join(dir, 'samples')
  if (!statSync(folder, { throwIfNoEntry: false })?.isDirectory()) return []
  const names = readdirSync(folder).filter((name) => EXTENSIONS.includes(extname(name)))
  const paths = names.sort().map((name) => join(folder, name))
  const small = paths.filter((path) => {
    const file = statSync(path, { throwIfNoEntry: false })
    return file?.isFile() && file.size <= MAX_BYTES
  })
  if (small.length < paths.length || small.length > MAX_SAMPLES) {
    const served = Math.min(small.length, MAX_SAMPLES)
    note(
      `${folder}: ${served} of ${paths.length} samples are served; the limits are ${MAX_SAMPLES} files and 1 MB each`,
    )
  }
  return small.slice(0, MAX_SAMPLES)
}
