/** preprocessor_config.json, as transformers' image processors write it, to a recipe. */
import { StartError } from './errors.ts'
import type { Json, ModelFolder } from './model_folder.ts'
import type { Recipe, Resize } from './recipe.ts'
import { FILTERS } from './resample.ts'

type PreprocessorFiles = Pick<ModelFolder, 'config' | 'configPath' | 'preprocessor' | 'preprocessorPath'>

/**
 * @param graphChannels size of the channel axis in the graph, if it is a number
 * @throws StartError naming the file and the key, what was expected and what came
 */
export function readRecipe(folder: PreprocessorFiles, graphChannels?: number): Recipe | undefined {
  const { preprocessor: json, preprocessorPath: file } = folder
  if (!json) return undefined
  const channels = readChannels(folder, json, graphChannels)
  const recipe: Recipe = { channels }
  if (json.do_resize ?? true) recipe.resize = readResize(json, file)
  if (json.do_center_crop) recipe.crop = readSize(json.crop_size ?? 224, 'crop_size', file)
  if (json.do_rescale ?? true) {
    recipe.rescale = { factor: number(json.rescale_factor ?? 1 / 255, 'rescale_factor', file) }
  }
  if (json.do_normalize ?? true) {
    recipe.normalize = {
      mean: perChannel(json.image_mean ?? 0.5, channels, 'image_mean', file),
      std: perChannel(json.image_std ?? 0.5, channels, 'image_std', file),
    }
  }
  return Object.freeze(recipe)
}

/** The graph knows best; where its channel axis is symbolic, num_channels, then the mean's length, then 3. */
function readChannels(
  { config, configPath }: PreprocessorFiles,
  json: Json,
  graphChannels: number | undefined,
): 1 | 3 {
  const means = Array.isArray(json.image_mean) ? json.image_mean.length : undefined
  const channels = graphChannels ?? config.num_channels ?? means ?? 3
  if (channels === 1 || channels === 3) return channels
  return fail(configPath, 'num_channels', channels, '1 (grey) or 3 (RGB)')
}

function readResize(json: Json, file: string): Resize {
  const number = json.resample ?? 2
  const filter = FILTERS[number as number]
  if (!filter) fail(file, 'resample', number, `a whole number, 0 to ${FILTERS.length - 1}`)
  const size = json.size ?? 224
  if (typeof size === 'object' && size !== null && 'shortest_edge' in size) {
    const { shortest_edge, longest_edge } = size as Json
    return {
      to: 'shortest edge',
      edge: pixels(shortest_edge, 'size.shortest_edge', file),
      longest: longest_edge === undefined ? undefined : pixels(longest_edge, 'size.longest_edge', file),
      filter,
    }
  }
  return { to: 'size', ...readSize(size, 'size', file), filter }
}

/** A number is a square, a list is [height, width]. */
function readSize(size: unknown, key: string, file: string): { width: number; height: number } {
  if (typeof size === 'number') return { width: pixels(size, key, file), height: size }
  const { height, width } = (Array.isArray(size) ? { height: size[0], width: size[1] } : (size ?? {})) as Json
  return { width: pixels(width, `${key}.width`, file), height: pixels(height, `${key}.height`, file) }
}

function pixels(value: unknown, key: string, file: string): number {
  if (Number.isInteger(value) && (value as number) >= 1) return value as number
  return fail(file, key, value, 'a whole number of pixels, at least 1')
}

function number(value: unknown, key: string, file: string): number {
  if (typeof value === 'number') return value
  return fail(file, key, value, 'a number')
}

function perChannel(value: unknown, channels: number, key: string, file: string): number[] {
  if (typeof value === 'number') return new Array(channels).fill(value)
  if (Array.isArray(value) && value.length === channels && value.every((item) => typeof item === 'number'))
    return value
  return fail(file, key, value, `a number or a list of ${channels}, one per channel of the model`)
}

function fail(file: string, key: string, came: unknown, expected: string): never {
  throw new StartError(`${file}: ${key} is ${JSON.stringify(came)}, expected ${expected}`)
}
