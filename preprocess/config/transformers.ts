/**
 * preprocessor_config.json to a recipe, by the rules of transformers' image processors (version 5, both backends).
 *
 * An absent key has the default of the class that wrote the file.
 */
import { isDeepStrictEqual } from 'node:util'
import { ConfigError } from '../errors.ts'
import type { Recipe } from '../recipe.ts'
import { type Json, type JsonFile, withoutNulls } from './json_file.ts'
import { checkMean, divisors, invalidKey, oneOf, perChannel, readPillowVersion } from './keys.ts'
import { noteUnknownKeys } from './known_keys.ts'
import type { Processor } from './processors.ts'
import { readSizing } from './sizing.ts'

type Note = (message: string) => void

/** Applied wherever they are set, though in transformers only these classes know them. */
const SWITCHES: Record<string, string[]> = {
  do_flip_channel_order: ['MobileViT'],
  rescale_offset: ['EfficientNet'],
  include_top: ['EfficientNet'],
}
/** The other keys that only some classes know; they have no effect in another one. */
const OWN_KEYS: Record<string, string[]> = {
  crop_pct: ['ConvNext', 'PoolFormer'],
  resize_short: ['PPLCNet'],
  size_divisor: ['PPLCNet', 'TextNet'],
}
/** Keys of every class that have no effect in this one. */
const UNUSED: Record<string, string[]> = {
  MobileViT: ['do_normalize', 'image_mean', 'image_std'],
  PPLCNet: ['size', 'default_to_square'],
  Segformer: ['do_center_crop', 'crop_size'],
}
const BOOLEANS = [
  'do_resize',
  'default_to_square',
  'do_center_crop',
  'do_rescale',
  'do_normalize',
  'do_convert_rgb',
  'do_pad',
  'fuse_normalize',
  ...Object.keys(SWITCHES),
]
const SERVED = [
  ...BOOLEANS,
  'size',
  'resample',
  'crop_size',
  'rescale_factor',
  'image_mean',
  'image_std',
  'mean',
  'std',
  'data_format',
  'backend',
  'pillow_version',
  'grayscale',
  'crop_rounding',
]
/** Keys without an effect on the tensor of one image. */
const QUIET = [
  'image_processor_type',
  'feature_extractor_type',
  'processor_class',
  'auto_map',
  '_valid_processor_keys',
  'device',
  'disable_grouping',
  'return_tensors',
  'input_data_format',
  'do_convert_annotations',
  'do_reduce_labels',
  'format',
  'reduce_labels',
  'image_seq_length',
]

/**
 * @param written preprocessor_config.json
 * @param channels of the model
 * @param note called with each assumption that was made
 * @throws ConfigError
 */
export function readTransformers(
  written: JsonFile,
  processor: Processor,
  channels: 1 | 3,
  note: Note,
): Recipe {
  const { name, defaults } = processor
  const file = withAliases({ ...written, json: withoutNulls(written.json) })
  const json: Json = { ...defaults, ...nullValues(written.json), ...file.json }
  checkKeys(file, json, processor, note)
  const recipe: Recipe = { channels, normalize: [], dtype: 'float32', ...readSizing(file, json, name) }

  if (json.do_rescale) {
    const factor = json.rescale_factor ?? 1 / 255
    if (typeof factor !== 'number' || !Number.isFinite(factor))
      throw invalidKey(file, 'rescale_factor', factor, 'a number')
    recipe.rescale = { factor, offset: json.rescale_offset ? -1 : 0 }
  }
  if (json.do_normalize && name !== 'MobileViT') {
    const mean = perChannel(file, 'image_mean', json.image_mean, channels)
    recipe.normalize.push({ mean, std: divisors(file, 'image_std', json.image_std, channels) })
    checkMean(file, 'image_mean', mean, recipe.rescale?.factor, note)
  }
  if (json.include_top) {
    const std = divisors(file, 'image_std', json.image_std, channels)
    recipe.normalize.push({ mean: std.map(() => 0), std })
  }
  if (json.do_flip_channel_order) recipe.isBgr = true
  if (json.data_format !== undefined)
    recipe.layout =
      oneOf(file, 'data_format', json.data_format, FORMATS) === 'channels_last' ? 'nhwc' : 'nchw'
  if (json.do_convert_rgb) recipe.alpha = 'white'
  if (oneOf(file, 'grayscale', json.grayscale ?? 'before_resize', GREYS) === 'after_resize') {
    if (channels === 1) recipe.greyAfterResize = true
    else note(`${file.path}: grayscale has no effect: the model takes three channels`)
  }
  if (name === undefined) noteDefaults(file, json, note)
  return Object.assign(recipe, readBackend(file, json, recipe, note))
}

const FORMATS = ['channels_first', 'channels_last'] as const
const GREYS = ['before_resize', 'after_resize'] as const
const BACKENDS = ['pil', 'torchvision'] as const

function readBackend(file: JsonFile, json: Json, { resize, rescale }: Recipe, note: Note): Partial<Recipe> {
  const backend = oneOf(file, 'backend', json.backend ?? 'pil', BACKENDS)
  if (backend === 'torchvision') {
    if (resize?.filter === 'box' || resize?.filter === 'hamming')
      throw invalidKey(
        file,
        'resample',
        json.resample,
        'nearest, lanczos, bilinear or bicubic with torchvision',
      )
    if (json.pillow_version !== undefined)
      note(`${file.path}: pillow_version has no effect with "backend": "torchvision"`)
    // EfficientNet's offset is not fused, nor its second normalization
    const isFused = (json.fuse_normalize ?? true) && Boolean(json.do_normalize) && rescale?.offset === 0
    return { backend, isFused: Boolean(isFused) }
  }
  if (json.fuse_normalize !== undefined)
    note(`${file.path}: fuse_normalize has no effect without "backend": "torchvision"`)
  const { image_processor_type: type } = file.json
  if (typeof type === 'string' && type.endsWith('Fast') && file.json.backend === undefined)
    note(
      `${file.path}: images are resized by Pillow; for the pixels of ${type} with torchvision, set "backend": "torchvision"`,
    )
  return readPillowVersion(file)
}

/** A key that is null turns its step off, whatever the class's default; a filter that is null is Pillow's bilinear. */
function nullValues(json: Json): Json {
  const nulls = Object.keys(json).filter((key) => json[key] === null)
  return Object.fromEntries(nulls.map((key) => [key, key === 'resample' ? 2 : undefined]))
}

/** `mean` and `std` are other names of image_mean and image_std. */
function withAliases({ path, json }: JsonFile): JsonFile {
  const { mean, std, ...rest } = json
  for (const [key, value] of Object.entries({ mean, std })) {
    if (value === undefined) continue
    if (rest[`image_${key}`] !== undefined)
      throw new ConfigError(`${path}: ${key} and image_${key} are both set, expected one of them`)
    rest[`image_${key}`] = value
  }
  return { path, json: rest }
}

function checkKeys(file: JsonFile, json: Json, { name, defaults }: Processor, note: Note): void {
  for (const key of BOOLEANS) {
    if (json[key] !== undefined && typeof json[key] !== 'boolean')
      throw invalidKey(file, key, json[key], 'true or false')
  }
  if (json.do_pad && json.pad_size)
    throw invalidKey(file, 'pad_size', json.pad_size, 'none: padding is not supported')
  const own = Object.keys(OWN_KEYS).filter((key) => OWN_KEYS[key].includes(name as string))
  const isSized = name === 'PPLCNet' && json.resize_short === undefined
  const unused = isSized ? [] : (UNUSED[name as string] ?? [])
  const served = [...SERVED, ...own].filter((key) => !unused.includes(key))
  const isDefault = (key: string) => {
    const [value, usual] = [file.json[key], defaults[key] ?? (BOOLEANS.includes(key) ? false : undefined)]
    const isSame =
      isDeepStrictEqual(value, usual) ||
      (Array.isArray(value) && value.length === 3 && value.every((n) => n === usual))
    return isSame
  }
  noteUnknownKeys(file, served, [...QUIET, ...Object.keys(file.json).filter(isDefault)], note)
  for (const [key, names] of Object.entries(SWITCHES)) {
    const isUsual = file.json[key] === undefined || file.json[key] === (defaults[key] ?? false)
    if (name === undefined || isUsual || names.includes(name)) continue
    note(
      `${file.path}: ${key} is ${file.json[key]}: the server applies it, although transformers' ${name}ImageProcessor ignores it`,
    )
  }
}

/** A file without a class has no defaults of its own. */
function noteDefaults(file: JsonFile, json: Json, note: Note): void {
  const needed = [
    ...(json.do_resize ? ['size', 'resample'] : []),
    ...(json.do_center_crop ? ['crop_size'] : []),
    ...(json.do_normalize ? ['image_mean', 'image_std'] : []),
  ]
  const absent = needed.filter((key) => file.json[key] === undefined)
  if (absent.length === 0) return
  const values = absent.map((key) => `${key} ${JSON.stringify(json[key])}`).join(', ')
  note(`${file.path} has neither image_processor_type nor ${absent.join(', ')}: assumed ${values}`)
}
