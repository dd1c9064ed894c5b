/** timm's `pretrained_cfg` to a recipe, by the rules of its `transforms_imagenet_eval` on PIL images. */
import type { Size } from '../pixels.ts'
import type { Recipe, Resize } from '../recipe.ts'
import { FILTERS } from '../resample/filters.ts'
import { roundHalfEven } from '../resample/geometry.ts'
import type { Json, JsonFile } from './json_file.ts'
import { divisors, invalidKey, perChannel } from './keys.ts'

const CROP_MODES = ['center', 'squash', 'border']

/** `pretrained_cfg` of a folder: in the wrapper's preprocessor file, in config.json, or (before timm 0.6) flat in there. */
export function findTimm(folder: { config?: JsonFile; preprocessor?: JsonFile }): JsonFile | undefined {
  const { config, preprocessor } = folder
  for (const file of [preprocessor, config]) {
    const nested = file?.json.pretrained_cfg
    if (file && typeof nested === 'object' && nested !== null)
      return { path: file.path, json: nested as Json }
  }
  return !preprocessor && Array.isArray(config?.json.input_size) ? config : undefined
}

/**
 * @param file `pretrained_cfg`
 * @param channels of the model
 * @param graphSize of the graph's input, as far as it is fixed
 * @throws ConfigError
 */
export function readTimm(file: JsonFile, channels: 1 | 3, graphSize: Partial<Size>): Recipe {
  const { json } = file
  const filter = FILTERS.find((name) => name === (json.interpolation || 'bicubic'))
  if (!filter) throw invalidKey(file, 'interpolation', json.interpolation, FILTERS.join(', '))
  const mode = json.crop_mode || 'center'
  if (!CROP_MODES.includes(mode as string)) throw invalidKey(file, 'crop_mode', mode, CROP_MODES.join(', '))

  const { height, width, cropPct } = chooseSize(file, graphSize)
  const scaled = { height: Math.floor(height / cropPct), width: Math.floor(width / cropPct) }
  const mean = perChannel(file, 'mean', single(json.mean) ?? [0.485, 0.456, 0.406], channels)
  const std = divisors(file, 'std', single(json.std) ?? [0.229, 0.224, 0.225], channels)

  let resize: Resize
  if (mode === 'squash') resize = { to: 'size', ...scaled, filter }
  else if (mode === 'border') resize = { to: 'fit', ...scaled, filter }
  else if (scaled.height === scaled.width) resize = { to: 'shortest edge', edge: scaled.height, filter }
  else resize = { to: 'cover', ...scaled, filter }
  const fill = mode === 'border' ? mean.map((value) => roundHalfEven(255 * value)) : [0]
  return {
    channels,
    dtype: 'float32',
    resize,
    crop: { width, height, centring: 'torchvision', fill },
    rescale: { factor: 1 / 255, offset: 0 },
    normalize: [{ mean, std }],
  }
}

/** A list of one number counts for all channels. */
function single(value: unknown): unknown {
  return Array.isArray(value) && value.length === 1 ? value[0] : value
}

/**
 * timm has two sizes, for training and for testing (larger, `use_test_size`). A graph of a fixed size says which one was
 * exported; otherwise the test size wins.
 */
function chooseSize(file: JsonFile, graphSize: Partial<Size>): Size & { cropPct: number } {
  const { json } = file
  const train = { key: 'input_size', size: json.input_size ?? [3, 224, 224], cropPct: json.crop_pct || 0.875 }
  const test = {
    key: json.test_input_size ? 'test_input_size' : 'input_size',
    size: json.test_input_size ?? train.size,
    cropPct: json.test_crop_pct || train.cropPct,
  }
  const sizes = [test, train].map(({ key, size, cropPct }) => {
    const isShape =
      Array.isArray(size) && size.length === 3 && size.every((n) => Number.isInteger(n) && n >= 1)
    if (!isShape) throw invalidKey(file, key, size, '[channels, height, width]')
    if (typeof cropPct !== 'number' || !(cropPct > 0 && cropPct <= 2))
      throw invalidKey(file, 'crop_pct', cropPct, 'a number above 0, up to 2')
    return { height: size[1] as number, width: size[2] as number, cropPct }
  })
  const fits = ({ height, width }: Size) =>
    (graphSize.height ?? height) === height && (graphSize.width ?? width) === width
  return sizes.find(fits) ?? sizes[0]
}
