/** Ultralytics' metadata of an ONNX file, as the JSON that transformers would have saved. */
import { ConfigError } from '../errors.ts'
import type { JsonFile } from './json_file.ts'

export interface UltralyticsFiles {
  preprocessor: JsonFile
  /** the class names by their numbers */
  names: Record<string, string>
}

/**
 * The preprocessing of Ultralytics' classifiers (data/augment.py, `classify_transforms`, and its predictor).
 *
 * @param path of the ONNX file
 * @returns undefined if Ultralytics did not write it
 * @throws ConfigError for a task other than classification
 */
export function readUltralytics(
  path: string,
  { author, task, imgsz, names = '', channels = '3' }: Record<string, string>,
): UltralyticsFiles | undefined {
  if (author !== 'Ultralytics') return undefined
  const source = `the metadata of ${path}`
  if (task !== 'classify') throw new ConfigError(`${source}: task is ${task}, expected classify`)
  if (channels !== '3') throw new ConfigError(`${source}: channels is ${channels}, expected 3`)
  const size = /^\[(\d+), (\d+)\]$/.exec(imgsz)
  if (!size) throw new ConfigError(`${source}: imgsz is ${imgsz}, expected [height, width]`)
  const [height, width] = size.slice(1).map(Number)
  const json = {
    size: height === width ? { shortest_edge: height } : { height, width },
    resample: 2,
    do_center_crop: true,
    crop_size: { height, width },
    crop_rounding: 'torchvision',
    do_normalize: false,
  }
  return { preprocessor: { path: source, json }, names: readDict(names) }
}

/** Python's `str` of a dictionary of texts: `{0: 'tench', 1: "jack-o'-lantern"}`. */
function readDict(text: string): Record<string, string> {
  const entries = text.matchAll(/(\d+): (?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")/g)
  return Object.fromEntries(
    [...entries].map(([, key, single, double]) => [key, readEscapes(single ?? double)]),
  )
}

const ESCAPES: Record<string, string> = { n: '\n', r: '\r', t: '\t' }

function readEscapes(text: string): string {
  return text.replace(/\\(?:x(..)|u(.{4})|U(.{8})|(.))/g, (_, x, u, long, letter) =>
    letter ? (ESCAPES[letter] ?? letter) : String.fromCodePoint(Number.parseInt(x ?? u ?? long, 16)),
  )
}
