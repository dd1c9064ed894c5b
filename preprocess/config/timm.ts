/** timm's `pretrained_cfg` to a recipe, by the rules of its `transforms_imagenet_eval` on PIL images. */
import { type Json, type JsonFile, type ModelFolder, wrongKey } from '../../lib/inference/model_folder.ts'
import { type Recipe, type Resize, roundHalfEven } from '../recipe.ts'
import { FILTERS } from '../resample.ts'
import { divisors, perChannel } from './transformers.ts'

const CROP_MODES = ['center', 'squash', 'border']

/** timm's configuration in a folder: in config.json, flat in there (before timm 0.6), or in the wrapper's file. */
export function findTimm({ config, preprocessor }: ModelFolder): JsonFile | undefined {
  for (const file of [preprocessor, config]) {
    const nested = file?.json.pretrained_cfg
    if (file && typeof nested === 'object' && nested !== null)
      return { path: file.path, json: nested as Json }
  }
  if (!preprocessor && Array.isArray(config.json.input_size)) return config
  return undefined
}

/**
 * @param file `pretrained_cfg`
 * @param channels that the model takes
 * @param graphSize [height, width] of the graph's input, where they are numbers
 * @throws StartError naming the key, what was expected and what came
 */
export function readTimm(file: JsonFile, channels: 1 | 3, graphSize: (number | undefined)[]): Recipe {
  const { json } = file
  const filter = FILTERS.find((name) => name === (json.interpolation || 'bicubic'))
  if (!filter) throw wrongKey(file, 'interpolation', json.interpolation, FILTERS.join(', '))
  const mode = json.crop_mode || 'center'
  if (!CROP_MODES.includes(mode as string)) throw wrongKey(file, 'crop_mode', mode, CROP_MODES.join(', '))

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

/** A list of one counts for all channels. */
function single(value: unknown): unknown {
  return Array.isArray(value) && value.length === 1 ? value[0] : value
}

/**
 * timm knows two sizes, for training and for testing (larger, `use_test_size`). A graph with a size of its own
 * says which was exported; otherwise the test size wins.
 */
function chooseSize(file: JsonFile, [graphHeight, graphWidth]: (number | undefined)[]) {
  const { json } = file
  const train = { key: 'input_size', size: json.input_size ?? [3, 224, 224], cropPct: json.crop_pct || 0.875 }
  const test = {
    key: json.test_input_size ? 'test_input_size' : 'input_size',
    size: json.test_input_size ?? train.size,
    cropPct: json.test_crop_pct || train.cropPct,
  }
  const read = ({ key, size, cropPct }: typeof train) => {
    const isShape =
      Array.isArray(size) && size.length === 3 && size.every((n) => Number.isInteger(n) && n >= 1)
    if (!isShape) throw wrongKey(file, key, size, '[channels, height, width]')
    if (typeof cropPct !== 'number' || !(cropPct > 0 && cropPct <= 2))
      throw wrongKey(file, 'crop_pct', cropPct, 'a number above 0, up to 2')
    return { height: size[1] as number, width: size[2] as number, cropPct }
  }
  const sizes = [read(test), read(train)]
  const fits = sizes.find(
    ({ height, width }) => (graphHeight ?? height) === height && (graphWidth ?? width) === width,
  )
  return fits ?? sizes[0]
}
