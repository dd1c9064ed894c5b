/** Resize and crop, by the rules of transformers' image processor classes. */
import { ConfigError } from '../errors.ts'
import type { Size } from '../pixels.ts'
import type { Recipe } from '../recipe.ts'
import { FILTERS, type Filter } from '../resample/filters.ts'
import { type Json, type JsonFile, withoutNulls } from './json_file.ts'
import { invalidKey, oneOf, pixelCount } from './keys.ts'

type Sizing = Pick<Recipe, 'cropFirst' | 'resize' | 'crop'>

const SIZE = '{"height": n, "width": n}, {"shortest_edge": n} or a number'

/**
 * @param json the keys, with the class's defaults
 * @param name of the class, see `Processor`
 * @throws ConfigError
 */
export function readSizing(file: JsonFile, json: Json, name: string | undefined): Sizing {
  const centring = oneOf(file, 'crop_rounding', json.crop_rounding ?? 'transformers', CENTRINGS)
  const cropTo = (size: Size) => ({ ...size, centring, fill: [0] })
  const cropSize =
    json.do_center_crop && name !== 'Segformer' ? readSize(file, 'crop_size', json.crop_size) : undefined
  const filter = json.do_resize ? filterOf(file, 'resample', json.resample) : undefined
  const sizing: Sizing = filter ? { resize: readResize(file, json, name, filter) } : {}

  if (name === 'Perceiver' && cropSize) {
    const size = readSize(file, 'size', json.size)
    const share = { height: size.height / cropSize.height, width: size.width / cropSize.width }
    if (share.height <= 1 && share.width <= 1) return { cropFirst: share, ...sizing }
    throw invalidKey(file, 'crop_size', json.crop_size, 'at least size')
  }
  const square = name === 'ConvNext' && sizing.resize?.to === 'shortest edge' ? sizing.resize : undefined
  if (square) {
    const edge = readShortestEdge(file, json)?.edge as number
    if (!cropSize || (cropSize.width === edge && cropSize.height === edge))
      return { ...sizing, crop: cropTo({ width: edge, height: edge }) }
    throw new ConfigError(
      `${file.path}: do_center_crop would crop a second time, after the crop to size: set it to false`,
    )
  }
  return cropSize ? { ...sizing, crop: cropTo(cropSize) } : sizing
}

const CENTRINGS = ['transformers', 'torchvision'] as const

function readResize(
  file: JsonFile,
  json: Json,
  name: string | undefined,
  filter: Filter,
): NonNullable<Recipe['resize']> {
  const shortest = readShortestEdge(file, json)
  const toEdge = (edge: number, options = {}) => ({ to: 'shortest edge' as const, edge, filter, ...options })
  const toSize = (size: Size) => ({ to: 'size' as const, ...size, filter })
  const divisor = () => pixelCount(file, 'size_divisor', json.size_divisor)
  const needed = () => {
    if (shortest) return shortest.edge
    throw invalidKey(file, 'size', json.size, '{"shortest_edge": n}')
  }
  switch (name) {
    case 'ConvNext': {
      // below 384 a larger resize and a crop, from 384 on a stretch
      const edge = needed()
      if (edge >= 384) return toSize({ width: edge, height: edge })
      return toEdge(Math.trunc(edge / readCropPct(file, json)))
    }
    case 'PoolFormer': {
      if (json.crop_pct === undefined) break
      const cropPct = readCropPct(file, json)
      if (shortest) return toEdge(Math.trunc(shortest.edge / cropPct))
      const { width, height } = readSize(file, 'size', json.size)
      const larger = { width: Math.trunc(width / cropPct), height: Math.trunc(height / cropPct) }
      return width === height ? toEdge(larger.width) : toSize(larger)
    }
    case 'Levit':
      if (shortest) return toEdge(Math.trunc((256 / 224) * shortest.edge))
      break
    case 'RTDetr':
      if (shortest && shortest.longest === undefined)
        throw invalidKey(file, 'size', json.size, '{"height": n, "width": n}')
      break
    case 'TextNet':
      return toEdge(needed(), { divisor: divisor() })
    case 'PPLCNet':
      if (json.resize_short === undefined) break
      return toEdge(pixelCount(file, 'resize_short', json.resize_short), {
        divisor: json.size_divisor === undefined ? 1 : divisor(),
        isRounded: true,
      })
  }
  return shortest ? toEdge(shortest.edge, shortest) : toSize(readSize(file, 'size', json.size))
}

/** `resample`: Pillow's number, or the filter's name. */
function filterOf(file: JsonFile, key: string, value: unknown): Filter {
  const name = typeof value === 'string' ? value.toLowerCase() : typeof value === 'number' && FILTERS[value]
  return oneOf(file, key, name, FILTERS, value, `, or a whole number, 0 to ${FILTERS.length - 1}`)
}

function readCropPct(file: JsonFile, { crop_pct: value }: Json): number {
  if (typeof value === 'number' && value > 0 && value <= 1) return value
  throw invalidKey(file, 'crop_pct', value, 'a number above 0, up to 1')
}

/** @returns undefined if `size` is a width and a height */
function readShortestEdge(
  file: JsonFile,
  { size, default_to_square: isSquare }: Json,
): { edge: number; longest?: number } | undefined {
  if (typeof size === 'number') return isSquare ? undefined : { edge: pixelCount(file, 'size', size) }
  const { shortest_edge: edge, longest_edge: longest, ...rest } = withoutNulls(Object(size))
  if (edge === undefined) return undefined
  if (Object.keys(rest).length > 0) throw invalidKey(file, 'size', size, SIZE)
  return {
    edge: pixelCount(file, 'size.shortest_edge', edge),
    ...(longest === undefined ? {} : { longest: pixelCount(file, 'size.longest_edge', longest) }),
  }
}

/** A number means a square, a list [height, width]. */
function readSize(file: JsonFile, key: string, size: unknown): Size {
  const pair = typeof size === 'number' ? [size, size] : size
  const { height, width, ...rest } = Array.isArray(pair)
    ? { ...pair.slice(2), height: pair[0], width: pair[1] }
    : withoutNulls(Object(pair))
  if (height === undefined || width === undefined || Object.keys(rest).length > 0)
    throw invalidKey(file, key, size, SIZE)
  return {
    width: pixelCount(file, `${key}.width`, width),
    height: pixelCount(file, `${key}.height`, height),
  }
}
