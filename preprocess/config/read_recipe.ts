/** A model folder's JSON to a recipe, checked against the graph's input. */
import { join } from 'node:path'
import { ConfigError } from '../errors.ts'
import { fixedSize, type Recipe } from '../recipe.ts'
import { type JsonFile, readJsonFile, readPreprocessorFile } from './json_file.ts'
import { findProcessor } from './processors.ts'
import { findTimm, readTimm } from './timm.ts'
import { readTransformers } from './transformers.ts'

/** The configuration files of a model folder; each may be missing. */
export interface ConfigFiles {
  /** config.json */
  config?: JsonFile
  /** preprocessor_config.json, or the same within processor_config.json */
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
  /** without it, only the files count */
  input?: InputSpec
  /** called with each assumption that was made, one line */
  note?: (message: string) => void
}

const FLOATS = ['float32', 'float16', 'float64']

/**
 * Read the configuration of a folder that transformers, optimum or timm wrote.
 *
 * @returns undefined if `input` is not an image
 * @throws ConfigError
 */
export function loadRecipe(dir: string, options: RecipeOptions = {}): Recipe | undefined {
  const config = readJsonFile(join(dir, 'config.json'))
  return readRecipe({ config, preprocessor: readPreprocessorFile(dir, options.note) }, options)
}

/**
 * The recipe for a graph's input, from the configuration files.
 *
 * A graph of integers gets levels of 0 to 255 (dtype uint8) and is expected to rescale them itself.
 *
 * @returns undefined if `input` is not an image
 * @throws ConfigError if a key is invalid, or if the files and the graph contradict each other
 */
export function readRecipe(
  folder: ConfigFiles,
  { input, note = () => {} }: RecipeOptions = {},
): Recipe | undefined {
  const timm = findTimm(folder, note)
  const file = timm ?? folder.preprocessor
  const axes = input && imageAxes(input)
  if (input && !axes) {
    if (!file) return undefined
    throw new ConfigError(
      `${file.path} is for images, but the model's input ${input.name} is [${input.dims}]: expected [n, 1 or 3, height, width] or [n, height, width, 1 or 3]`,
    )
  }
  const channels = readChannels(folder, timm, axes?.channels)
  const recipe = timm
    ? readTimm(timm, channels, axes ?? {}, note)
    : readPreprocessor(folder, channels, axes ?? {}, note)
  if (input && axes) fitInput(recipe, input, axes, file?.path ?? 'the default', note)
  return Object.freeze(recipe)
}

/** A graph's axes, as far as they are numbers. */
interface Axes {
  layout: 'nchw' | 'nhwc'
  channels?: number
  height?: number
  width?: number
}

/** Channels are the second axis, or the last one if that is 1 or 3 and the second is not; undefined if the input is not an image. */
function imageAxes({ dims }: InputSpec): Axes | undefined {
  if (dims.length !== 4) return undefined
  const isCount = (dim: number | string) => dim === 1 || dim === 3
  const layout = isCount(dims[3]) && !isCount(dims[1]) ? 'nhwc' : 'nchw'
  const [, ...axes] = dims.map((dim) => (typeof dim === 'number' ? dim : undefined))
  const [channels, height, width] = layout === 'nhwc' ? [axes[2], axes[0], axes[1]] : axes
  return channels === undefined || isCount(channels) ? { layout, channels, height, width } : undefined
}

function readPreprocessor(
  { config, preprocessor }: ConfigFiles,
  channels: 1 | 3,
  { height, width }: Partial<Axes>,
  note: (message: string) => void,
): Recipe {
  const size = { height: height ?? 224, width: width ?? 224 }
  if (preprocessor)
    return readTransformers(preprocessor, findProcessor(preprocessor, config, size), channels, note)
  note(
    `there is no preprocessor_config.json: images are resized to ${size.width}x${size.height}, bilinear, and scaled to -1..1; ` +
      'add the file to change this; for a graph that rescales and normalizes, set do_rescale and do_normalize to false',
  )
  const json = { size, resample: 'bilinear', image_mean: 0.5, image_std: 0.5 }
  const file = { path: 'default', json }
  return readTransformers(file, findProcessor(file, undefined, size), channels, note)
}

/** The graph's channel axis, `num_channels`, the mean's length, else 3; those that are present must agree. */
function readChannels(
  { config, preprocessor }: ConfigFiles,
  timm: JsonFile | undefined,
  channelAxis: number | undefined,
): 1 | 3 {
  const mean = timm ? timm.json.mean : (preprocessor?.json.image_mean ?? preprocessor?.json.mean)
  const inputSize = timm?.json.input_size
  const sources: [string, unknown][] = [
    ["the graph's channel axis", channelAxis],
    [`num_channels in ${config?.path}`, config?.json.num_channels],
    [`input_size in ${timm?.path}`, Array.isArray(inputSize) ? inputSize[0] : undefined],
    // in timm a list of one number counts for all channels
    [
      timm ? `mean in ${timm.path}` : `image_mean in ${preprocessor?.path}`,
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

/** Give the recipe the graph's kind of numbers and layout, and check that the images have the graph's size. */
function fitInput(
  recipe: Recipe,
  input: InputSpec,
  { layout, height, width }: Axes,
  source: string,
  note: (message: string) => void,
): void {
  if (recipe.layout && recipe.layout !== layout)
    note(
      `${source}: data_format has no effect: the model's input ${input.name} is [${input.dims}], ${layout}`,
    )
  recipe.layout = layout
  if (input.dtype === 'int8') {
    throw new ConfigError(
      `the model's input ${input.name} is int8, expected uint8, a wider integer or a float: levels go up to 255`,
    )
  }
  if (!FLOATS.includes(input.dtype)) {
    if (recipe.rescale || recipe.normalize.length > 0)
      note(
        `the model's input ${input.name} is ${input.dtype}: it gets levels of 0 to 255, and is expected to rescale and normalize them itself; ` +
          `if it does, set do_rescale and do_normalize to false`,
      )
    recipe.dtype = 'uint8'
    recipe.rescale = undefined
    recipe.normalize = []
  }
  const size = fixedSize(recipe)
  const graphSize = `the model's input ${input.name} is ${width}x${height}`
  if (!size && height !== undefined && width !== undefined) {
    note(
      `${source} keeps the aspect ratio of images, but ${graphSize}: images with another one will be refused; ` +
        'set do_center_crop and crop_size, or size with height and width',
    )
  }
  if (size && ((height ?? size.height) !== size.height || (width ?? size.width) !== size.width)) {
    throw new ConfigError(
      `${source} makes images of ${size.width}x${size.height}, but ${graphSize}: they must agree`,
    )
  }
}
