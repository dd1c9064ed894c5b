/**
 * preprocessor_config.json to a recipe, by the rules of transformers' image processors (PIL backend, version 5).
 *
 * A key that is absent has the default of the class that wrote the file.
 */
import { type Json, type JsonFile, wrongKey } from '../../lib/inference/model_folder.ts'
import type { Recipe } from '../recipe.ts'
import { FILTERS, type Filter } from '../resample.ts'

const CLIP = {
  image_mean: [0.48145466, 0.4578275, 0.40821073],
  image_std: [0.26862954, 0.26130258, 0.27577711],
}
const IMAGENET = { image_mean: [0.485, 0.456, 0.406], image_std: [0.229, 0.224, 0.225] }
const HALF = { image_mean: 0.5, image_std: 0.5 }

/** What a class does where the file is silent. */
interface Processor {
  defaults: Json
  /** a number as `size` is the shortest edge, not a square */
  isEdge?: boolean
  /** how the class departs from resize, crop, rescale, normalise */
  quirk?: 'convnext' | 'levit' | 'mobilevit' | 'efficientnet'
}

const EDGE_AND_CROP = { size: { shortest_edge: 224 }, do_center_crop: true, crop_size: 224 }

const PROCESSORS: Record<string, Processor> = {
  ViT: { defaults: { size: 224, resample: 2, ...HALF } },
  DeiT: { defaults: { size: 256, do_center_crop: true, crop_size: 224, resample: 3, ...HALF } },
  Beit: { defaults: { size: 224, crop_size: 224, resample: 3, ...HALF } },
  ConvNext: {
    defaults: { size: { shortest_edge: 384 }, resample: 3, crop_pct: 224 / 256, ...HALF },
    isEdge: true,
    quirk: 'convnext',
  },
  Bit: { defaults: { ...EDGE_AND_CROP, resample: 3, ...CLIP }, isEdge: true },
  CLIP: { defaults: { ...EDGE_AND_CROP, resample: 3, ...CLIP }, isEdge: true },
  Siglip: { defaults: { size: { height: 224, width: 224 }, resample: 3, ...HALF }, isEdge: true },
  MobileNetV1: {
    defaults: { ...EDGE_AND_CROP, size: { shortest_edge: 256 }, resample: 2, ...HALF },
    isEdge: true,
  },
  MobileNetV2: {
    defaults: { ...EDGE_AND_CROP, size: { shortest_edge: 256 }, resample: 2, ...HALF },
    isEdge: true,
  },
  MobileViT: {
    defaults: { ...EDGE_AND_CROP, crop_size: 256, resample: 3, do_flip_channel_order: true },
    isEdge: true,
    quirk: 'mobilevit',
  },
  Levit: { defaults: { ...EDGE_AND_CROP, resample: 3, ...IMAGENET }, isEdge: true, quirk: 'levit' },
  EfficientNet: {
    defaults: { size: 346, crop_size: 289, resample: 3, include_top: true, ...HALF },
    quirk: 'efficientnet',
  },
}

const SWITCHES = [
  'do_resize',
  'do_center_crop',
  'do_rescale',
  'do_normalize',
  'do_flip_channel_order',
  'rescale_offset',
  'include_top',
]

const GENERIC: Processor = { defaults: { size: 224, crop_size: 224, resample: 2, ...HALF } }

/**
 * @param file preprocessor_config.json, without its nulls
 * @param channels that the model takes
 * @param warn told what was assumed
 * @throws StartError naming the key, what was expected and what came
 */
export function readPreprocessor(file: JsonFile, channels: 1 | 3, warn: (message: string) => void): Recipe {
  const processor = findProcessor(file, warn)
  const { quirk } = processor
  const json: Json = { ...processor.defaults, ...file.json }
  for (const key of SWITCHES) {
    if (json[key] !== undefined && typeof json[key] !== 'boolean')
      throw wrongKey(file, key, json[key], 'true or false')
  }
  if (json.do_pad && json.pad_size)
    throw wrongKey(file, 'pad_size', json.pad_size, 'none: padding is not supported')
  const recipe: Recipe = { channels, normalize: [], dtype: 'float32' }

  if (json.do_resize ?? true) Object.assign(recipe, readResize(file, json, processor))
  if (json.do_center_crop && quirk !== 'convnext') {
    const size = readSize(file, 'crop_size', json.crop_size)
    recipe.crop = { ...size, centring: 'transformers', fill: [0] }
  }
  if (json.do_rescale ?? true) {
    const factor = json.rescale_factor ?? 1 / 255
    if (typeof factor !== 'number' || !Number.isFinite(factor))
      throw wrongKey(file, 'rescale_factor', factor, 'a number')
    recipe.rescale = { factor, offset: quirk === 'efficientnet' && json.rescale_offset ? -1 : 0 }
  }
  if ((json.do_normalize ?? true) && quirk !== 'mobilevit') {
    const mean = perChannel(file, 'image_mean', json.image_mean, channels)
    recipe.normalize.push({ mean, std: divisors(file, 'image_std', json.image_std, channels) })
  }
  if (quirk === 'efficientnet' && json.include_top) {
    const std = divisors(file, 'image_std', json.image_std, channels)
    recipe.normalize.push({ mean: std.map(() => 0), std })
  }
  if (quirk === 'mobilevit' && json.do_flip_channel_order) recipe.isBgr = true
  return recipe
}

/** `ViTImageProcessor`, `ViTImageProcessorFast` and the older `ViTFeatureExtractor` are one class. */
function findProcessor(file: JsonFile, warn: (message: string) => void): Processor {
  const type = file.json.image_processor_type ?? file.json.feature_extractor_type
  if (type === undefined) return GENERIC
  if (typeof type !== 'string') throw wrongKey(file, 'image_processor_type', type, "a class's name")
  const name = String(type).replace(/(ImageProcessor|FeatureExtractor)(Fast|Pil)?$/, '')
  if (Object.hasOwn(PROCESSORS, name)) return PROCESSORS[name]
  warn(
    `${file.path}: image_processor_type ${JSON.stringify(type)} is not known: its keys are read as a ViT's`,
  )
  return GENERIC
}

type Sizing = Pick<Recipe, 'resize' | 'crop'>

function readResize(file: JsonFile, json: Json, { isEdge, quirk }: Processor): Sizing {
  const filter = Number.isInteger(json.resample) ? FILTERS[json.resample as number] : undefined
  if (!filter) throw wrongKey(file, 'resample', json.resample, `a whole number, 0 to ${FILTERS.length - 1}`)
  const edges = readEdges(file, json.size, isEdge ?? false)
  if (quirk === 'convnext') return convNextResize(file, json, edges?.edge, filter)
  if (!edges) return { resize: { to: 'size', ...readSize(file, 'size', json.size), filter } }
  const edge = quirk === 'levit' ? Math.trunc((256 / 224) * edges.edge) : edges.edge
  return { resize: { to: 'shortest edge', edge, longest: edges.longest, filter } }
}

/** ConvNeXT's own rule: below 384 a larger resize and a crop, from 384 on a squash. */
function convNextResize(file: JsonFile, json: Json, edge: number | undefined, filter: Filter): Sizing {
  if (edge === undefined) throw wrongKey(file, 'size', json.size, '{"shortest_edge": n}')
  const square = { width: edge, height: edge }
  if (edge >= 384) return { resize: { to: 'size', ...square, filter } }
  const { crop_pct } = json
  if (typeof crop_pct !== 'number' || !(crop_pct > 0 && crop_pct <= 1))
    throw wrongKey(file, 'crop_pct', crop_pct, 'a number above 0, up to 1')
  return {
    resize: { to: 'shortest edge', edge: Math.trunc(edge / crop_pct), filter },
    crop: { ...square, centring: 'transformers', fill: [0] },
  }
}

/** `size` as a shortest edge; undefined if it is a width and a height. */
function readEdges(
  file: JsonFile,
  size: unknown,
  isEdge: boolean,
): { edge: number; longest?: number } | undefined {
  if (typeof size === 'number') return isEdge ? { edge: pixels(file, 'size', size) } : undefined
  const { shortest_edge: edge, longest_edge: longest } = Object(size) as Json
  if (edge === undefined || edge === null) return undefined
  return {
    edge: pixels(file, 'size.shortest_edge', edge),
    ...(longest ? { longest: pixels(file, 'size.longest_edge', longest) } : {}),
  }
}

/** A number is a square, a list is [height, width]. */
function readSize(file: JsonFile, key: string, size: unknown): { width: number; height: number } {
  const square = typeof size === 'number' ? [size, size] : size
  const { height, width } = Object(
    Array.isArray(square) ? { height: square[0], width: square[1] } : square,
  ) as Json
  if (height === undefined || width === undefined) {
    throw wrongKey(file, key, size, '{"height": n, "width": n}, {"shortest_edge": n} or a number')
  }
  return { width: pixels(file, `${key}.width`, width), height: pixels(file, `${key}.height`, height) }
}

function pixels(file: JsonFile, key: string, value: unknown): number {
  if (Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 65536) return value as number
  throw wrongKey(file, key, value, 'a whole number of pixels, 1 to 65536')
}

/** The same for what is divided by. */
export function divisors(file: JsonFile, key: string, value: unknown, channels: number): number[] {
  const list = perChannel(file, key, value, channels)
  if (list.includes(0)) throw wrongKey(file, key, value, 'numbers other than 0')
  return list
}

/** One number for each channel; a single number counts for all. */
export function perChannel(file: JsonFile, key: string, value: unknown, channels: number): number[] {
  const list = typeof value === 'number' ? new Array<number>(channels).fill(value) : value
  const isList = Array.isArray(list) && list.every((item) => typeof item === 'number')
  if (isList && list.length === channels) return list
  throw wrongKey(file, key, value, `a number or a list of ${channels}, one per channel of the model`)
}
