/** timm's `pretrained_cfg` to a recipe, by the rules of its `transforms_imagenet_eval` on PIL images. */
import type { Size } from '../pixels.ts'
import type { Recipe, Resize } from '../recipe.ts'
import { FILTERS } from '../resample/filters.ts'
import { roundHalfEven } from '../resample/geometry.ts'
import { type Json, type JsonFile, withoutNulls } from './json_file.ts'
import { checkMean, divisors, invalidKey, oneOf, perChannel, readPillowVersion } from './keys.ts'
import { KNOWN_KEYS, noteUnknownKeys } from './known_keys.ts'

const CROP_MODES = ['center', 'squash', 'border'] as const
const SERVED = [
  'input_size',
  'test_input_size',
  'interpolation',
  'crop_pct',
  'test_crop_pct',
  'crop_mode',
  'pillow_version',
  'mean',
  'std',
  'num_classes',
  'label_names',
]

/** `pretrained_cfg` of a folder: in the wrapper's preprocessor file, in config.json, or (before timm 0.6) flat in there. */
export function findTimm(
  folder: { config?: JsonFile; preprocessor?: JsonFile },
  note: (message: string) => void,
): JsonFile | undefined {
  const { config, preprocessor } = folder
  for (const file of [preprocessor, config]) {
    const nested = file?.json.pretrained_cfg
    if (!file || nested === undefined) continue
    if (typeof nested !== 'object' || Array.isArray(nested))
      throw invalidKey(file, 'pretrained_cfg', nested, 'an object')
    if (preprocessor && file !== preprocessor)
      note(
        `${preprocessor.path} has no effect: pretrained_cfg of ${file.path} takes precedence, as in transformers`,
      )
    const json = withImageSize(withoutNulls(nested as object), Object(file.json.model_args))
    return { path: `${file.path}: pretrained_cfg`, json }
  }
  return !preprocessor && Array.isArray(config?.json.input_size) ? config : undefined
}

/**
 * A model that was made with another `img_size` has that one, if its size is fixed. Older versions of timm saved the
 * original size nevertheless. Source: timm 1.0.31, models/_hub.py.
 */
function withImageSize(cfg: Json, args: Json): Json {
  const {
    img_size: size,
    dynamic_img_size: isDynamic,
    strict_img_size: isStrict,
    use_naflex: isNaFlex,
  } = args
  const isFixed = cfg.fixed_input_size && !isDynamic && !isNaFlex && isStrict !== false
  if (!isFixed || size === undefined || size === null || !Array.isArray(cfg.input_size)) return cfg
  const [height, width] = Array.isArray(size) ? size : [size, size]
  return { ...cfg, input_size: [cfg.input_size[0], height, width] }
}

/**
 * @param file `pretrained_cfg`
 * @param channels of the model
 * @param graphSize of the graph's input, as far as it is fixed
 * @param note called with each assumption that was made
 * @throws ConfigError
 */
export function readTimm(
  file: JsonFile,
  channels: 1 | 3,
  graphSize: Partial<Size>,
  note: (message: string) => void,
): Recipe {
  const { json } = file
  // of a flat config.json, the model's folder checks the keys
  if (file.path.endsWith(': pretrained_cfg')) noteUnknownKeys(file, SERVED, KNOWN_KEYS.pretrained_cfg, note)
  const filter = oneOf(file, 'interpolation', json.interpolation || 'bicubic', FILTERS)
  const mode = oneOf(file, 'crop_mode', json.crop_mode || 'center', CROP_MODES)

  const { height, width, cropPct } = chooseSize(file, graphSize, note)
  const scaled = { height: Math.floor(height / cropPct), width: Math.floor(width / cropPct) }
  const mean = perChannel(file, 'mean', single(json.mean) ?? [0.485, 0.456, 0.406], channels)
  checkMean(file, 'mean', mean, 1 / 255, note)
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
    ...readPillowVersion(file),
  }
}

/** A list of one number counts for all channels. */
function single(value: unknown): unknown {
  return Array.isArray(value) && value.length === 1 ? value[0] : value
}

/**
 * timm has two sizes, for training and for testing (larger, `use_test_size`). As in timm's own default and in transformers,
 * images get the training size, unless the graph was exported with the other.
 */
function chooseSize(
  file: JsonFile,
  graphSize: Partial<Size>,
  note: (message: string) => void,
): Size & { cropPct: number } {
  const { json } = file
  const train = readSize(file, 'input_size', json.input_size ?? [3, 224, 224], json.crop_pct || 0.875)
  if (!json.test_input_size) return train
  const test = readSize(file, 'test_input_size', json.test_input_size, json.test_crop_pct || train.cropPct)
  const fits = ({ height, width }: Size) =>
    (graphSize.height ?? height) === height && (graphSize.width ?? width) === width
  if (!fits(train)) return fits(test) ? test : train
  if (fits(test) && (test.height !== train.height || test.width !== train.width))
    note(
      `${file.path}: images get the size of input_size, ${train.width}x${train.height}, which is timm's own default; ` +
        `for test_input_size, ${test.width}x${test.height}, set input_size to it`,
    )
  return train
}

function readSize(file: JsonFile, key: string, size: unknown, cropPct: unknown): Size & { cropPct: number } {
  const isShape = Array.isArray(size) && size.length === 3 && size.every((n) => Number.isInteger(n) && n >= 1)
  if (!isShape) throw invalidKey(file, key, size, '[channels, height, width]')
  if (typeof cropPct !== 'number' || !(cropPct > 0 && cropPct <= 2))
    throw invalidKey(file, key.replace('input_size', 'crop_pct'), cropPct, 'a number above 0, up to 2')
  return { height: size[1], width: size[2], cropPct }
}
