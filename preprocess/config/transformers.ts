/**
 * preprocessor_config.json to a recipe, by the rules of transformers' image processors (PIL backend, version 5).
 *
 * An absent key has the default of the class that wrote the file.
 */
import type { Recipe } from '../recipe.ts'
import { FILTERS, type Filter } from '../resample/filters.ts'
import type { Json, JsonFile } from './json_file.ts'
import { divisors, invalidKey, perChannel, pixelCount } from './keys.ts'
import { findProcessor, type Processor } from './processors.ts'

const SWITCHES = [
  'do_resize',
  'do_center_crop',
  'do_rescale',
  'do_normalize',
  'do_flip_channel_order',
  'rescale_offset',
  'include_top',
]

/**
 * @param file preprocessor_config.json
 * @param channels of the model
 * @param note called with each assumption that was made
 * @throws ConfigError
 */
export function readTransformers(file: JsonFile, channels: 1 | 3, note: (message: string) => void): Recipe {
  const processor = findProcessor(file, note)
  const { quirk } = processor
  const json: Json = { ...processor.defaults, ...file.json }
  checkKeys(file, json)
  const recipe: Recipe = { channels, normalize: [], dtype: 'float32' }

  if (json.do_resize ?? true) Object.assign(recipe, readResize(file, json, processor))
  if (json.do_center_crop && quirk !== 'convnext') {
    const size = readSize(file, 'crop_size', json.crop_size)
    recipe.crop = { ...size, centring: 'transformers', fill: [0] }
  }
  if (json.do_rescale ?? true) {
    const factor = json.rescale_factor ?? 1 / 255
    if (typeof factor !== 'number' || !Number.isFinite(factor))
      throw invalidKey(file, 'rescale_factor', factor, 'a number')
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

function checkKeys(file: JsonFile, json: Json): void {
  for (const key of SWITCHES) {
    if (json[key] !== undefined && typeof json[key] !== 'boolean')
      throw invalidKey(file, key, json[key], 'true or false')
  }
  if (json.do_pad && json.pad_size)
    throw invalidKey(file, 'pad_size', json.pad_size, 'none: padding is not supported')
}

type Sizing = Pick<Recipe, 'resize' | 'crop'>

function readResize(file: JsonFile, json: Json, { isEdge = false, quirk }: Processor): Sizing {
  const filter = Number.isInteger(json.resample) ? FILTERS[json.resample as number] : undefined
  if (!filter) throw invalidKey(file, 'resample', json.resample, `a whole number, 0 to ${FILTERS.length - 1}`)
  const shortest = readShortestEdge(file, json.size, isEdge)
  if (quirk === 'convnext') return convNextResize(file, json, shortest?.edge, filter)
  if (!shortest) return { resize: { to: 'size', ...readSize(file, 'size', json.size), filter } }
  const edge = quirk === 'levit' ? Math.trunc((256 / 224) * shortest.edge) : shortest.edge
  return { resize: { to: 'shortest edge', edge, longest: shortest.longest, filter } }
}

/** ConvNextImageProcessor.resize: below 384 a larger resize and a crop, from 384 on a stretch. */
function convNextResize(file: JsonFile, json: Json, edge: number | undefined, filter: Filter): Sizing {
  if (edge === undefined) throw invalidKey(file, 'size', json.size, '{"shortest_edge": n}')
  const square = { width: edge, height: edge }
  if (edge >= 384) return { resize: { to: 'size', ...square, filter } }
  const { crop_pct } = json
  if (typeof crop_pct !== 'number' || !(crop_pct > 0 && crop_pct <= 1))
    throw invalidKey(file, 'crop_pct', crop_pct, 'a number above 0, up to 1')
  return {
    resize: { to: 'shortest edge', edge: Math.trunc(edge / crop_pct), filter },
    crop: { ...square, centring: 'transformers', fill: [0] },
  }
}

/** @returns undefined if `size` is a width and a height */
function readShortestEdge(
  file: JsonFile,
  size: unknown,
  isEdge: boolean,
): { edge: number; longest?: number } | undefined {
  if (typeof size === 'number') return isEdge ? { edge: pixelCount(file, 'size', size) } : undefined
  const { shortest_edge: edge, longest_edge: longest } = Object(size) as Json
  if (edge === undefined || edge === null) return undefined
  return {
    edge: pixelCount(file, 'size.shortest_edge', edge),
    ...(longest ? { longest: pixelCount(file, 'size.longest_edge', longest) } : {}),
  }
}

/** A number is a square, a list is [height, width]. */
function readSize(file: JsonFile, key: string, size: unknown): { width: number; height: number } {
  const pair = typeof size === 'number' ? [size, size] : size
  const { height, width } = Object(Array.isArray(pair) ? { height: pair[0], width: pair[1] } : pair) as Json
  if (height === undefined || width === undefined)
    throw invalidKey(file, key, size, '{"height": n, "width": n}, {"shortest_edge": n} or a number')
  return {
    width: pixelCount(file, `${key}.width`, width),
    height: pixelCount(file, `${key}.height`, height),
  }
}
