/** A model folder's JSON to a recipe, checked against the graph's input. */
import { join } from 'node:path'
import { ConfigError } from '../errors.ts'
import { fixedSize, type Recipe } from '../recipe.ts'
import { type JsonFile, readJsonFile } from './json_file.ts'
import { findTimm, readTimm } from './timm.ts'
import { readTransformers } from './transformers.ts'

/** The configuration files of a model folder, as far as it has them. */
export interface ConfigFiles {
  /** config.json */
  config?: JsonFile
  /** preprocessor_config.json */
  preprocessor?: JsonFile
}

/** A graph's image input; a symbolic dim is its name, or '' if it has none. */
export interface InputSpec {
  name: string
  /** NumPy's name */
  dtype: string
  dims: readonly (number | string)[]
}

export interface RecipeOptions {
  /** without it only the files count */
  input?: InputSpec
  /** called with each assumption that was made, one line */
  note?: (message: string) => void
}

const FLOATS = ['float32', 'float16', 'float64']

/**
 * Read config.json and preprocessor_config.json of a folder that transformers, optimum or timm wrote.
 *
 * @returns undefined if `input` is no image
 * @throws ConfigError
 */
export function loadRecipe(dir: string, options: RecipeOptions = {}): Recipe | undefined {
  const read = (name: string) => readJsonFile(join(dir, name))
  return readRecipe({ config: read('config.json'), preprocessor: read('preprocessor_config.json') }, options)
}

/**
 * The recipe for a graph's input, by what the configuration files say.
 *
 * A graph of integers gets levels of 0 to 255 (dtype uint8) and is expected to rescale them itself.
 *
 * @returns undefined if `input` is no image
 * @throws ConfigError if a key is invalid, or if the files and the graph contradict each other
 */
export function readRecipe(
  folder: ConfigFiles,
  { input, note = () => {} }: RecipeOptions = {},
): Recipe | undefined {
  const timm = findTimm(folder)
  const file = timm ?? folder.preprocessor
  if (input && !isImage(input)) {
    if (!file) return undefined
    throw new ConfigError(
      `${file.path} is for images, but the model's input ${input.name} is [${input.dims}]: expected [n, 1 or 3, height, width]`,
    )
  }
  const channels = readChannels(folder, timm, input)
  const [height, width] = (input?.dims.slice(2) ?? []).map((dim) =>
    typeof dim === 'number' ? dim : undefined,
  )
  const recipe = timm
    ? readTimm(timm, channels, { height, width })
    : readTransformers(
        folder.preprocessor ?? defaultFile({ height: height ?? 224, width: width ?? 224 }, note),
        channels,
        note,
      )
  if (input) fitInput(recipe, input, file?.path ?? 'the default', note)
  return Object.freeze(recipe)
}

function isImage({ dims }: InputSpec): boolean {
  return dims.length === 4 && (typeof dims[1] === 'string' || dims[1] === 1 || dims[1] === 3)
}

function defaultFile(size: { height: number; width: number }, note: (message: string) => void): JsonFile {
  const target = `${size.width}x${size.height}`
  note(`there is no preprocessor_config.json: images are resized to ${target}, bilinear, -1 to 1`)
  return { path: 'default', json: { size } }
}

/** The graph's channel axis, `num_channels`, the mean's length, else 3; those that are present must agree. */
function readChannels(
  { config, preprocessor }: ConfigFiles,
  timm: JsonFile | undefined,
  input?: InputSpec,
): 1 | 3 {
  const mean = timm ? timm.json.mean : preprocessor?.json.image_mean
  const inputSize = timm?.json.input_size
  const sources: [string, unknown][] = [
    ["the graph's channel axis", typeof input?.dims[1] === 'number' ? input.dims[1] : undefined],
    [`num_channels in ${config?.path}`, config?.json.num_channels],
    [`input_size in ${timm?.path}`, Array.isArray(inputSize) ? inputSize[0] : undefined],
    // in timm a list of one number counts for all channels
    [
      `the mean in ${(timm ?? preprocessor)?.path}`,
      Array.isArray(mean) && !(timm && mean.length === 1) ? mean.length : undefined,
    ],
  ]
  const known = sources.filter(([, channels]) => channels !== undefined)
  const [source, channels] = known[0] ?? ['the default', 3]
  if (channels !== 1 && channels !== 3) {
    throw new ConfigError(`${source} says ${JSON.stringify(channels)} channels, expected 1 (grey) or 3 (RGB)`)
  }
  const other = known.find(([, value]) => value !== channels)
  if (!other) return channels
  throw new ConfigError(
    `${source} says ${channels} channels, but ${other[0]} says ${other[1]}: they must agree`,
  )
}

/** Give the recipe the graph's kind of numbers, and check that the images have the graph's size. */
function fitInput(recipe: Recipe, input: InputSpec, source: string, note: (message: string) => void): void {
  if (input.dtype === 'int8') {
    throw new ConfigError(
      `the model's input ${input.name} is int8, expected uint8, a wider integer or a float: levels go up to 255`,
    )
  }
  if (!FLOATS.includes(input.dtype)) {
    recipe.dtype = 'uint8'
    recipe.rescale = undefined
    recipe.normalize = []
  }
  const size = fixedSize(recipe)
  const [height, width] = input.dims.slice(2)
  const graphSize = `the model's input ${input.name} is ${width}x${height}`
  if (!size && typeof height === 'number' && typeof width === 'number') {
    note(
      `${source} keeps the ratio of images, but ${graphSize}: images of another ratio will not fit; ` +
        'say do_center_crop and crop_size, or size with height and width',
    )
  }
  const differs = (made: number, wanted: number | string) => typeof wanted === 'number' && wanted !== made
  if (size && (differs(size.height, height) || differs(size.width, width))) {
    throw new ConfigError(
      `${source} makes images of ${size.width}x${size.height}, but ${graphSize}: they must agree`,
    )
  }
}
