/** Goldens of the real image processors, from make_processor_goldens.py, and their table in docs/models.md. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { type ImageTensor, preprocess, type RecipeOptions, readRecipe } from '../../preprocess/index.ts'

type Json = Record<string, unknown>

export interface Golden {
  config: Json
  preprocessor?: Json
  /** per photo a hash of dims and values, '' if the processor itself fails; separated by spaces */
  tensors: string
}

interface Goldens {
  versions: Record<string, string>
  photos: { offset: number; length: number }[]
  cases: Golden[]
}

const FIXTURES = new URL('../fixtures/', import.meta.url)
export const { versions, photos, cases }: Goldens = JSON.parse(
  readFileSync(new URL('processor_goldens.json', FIXTURES), 'utf8'),
)
const files = readFileSync(new URL('photos.bin', FIXTURES))

export interface Comparison {
  golden: Golden
  compared: number
  /** the photos whose tensors differ */
  differing: number[]
}

/** Make the tensor of every photo, and compare. */
export async function compare(golden: Golden, note: RecipeOptions['note']): Promise<Comparison> {
  const recipe = readRecipe(folderOf(golden), { note })!
  const hashes = [...golden.tensors.split(' ').entries()].filter(([, hash]) => hash !== '')
  const differing: number[] = []
  for (const [index, hash] of hashes) {
    const { offset, length } = photos[index]
    const tensor = await preprocess(files.subarray(offset, offset + length), recipe, { maxPixels: 50e6 })
    if (hashOf(tensor) !== hash) differing.push(index)
  }
  return { golden, compared: hashes.length, differing }
}

function folderOf({ config, preprocessor }: Golden) {
  return {
    config: { path: 'config.json', json: config },
    preprocessor: preprocessor && { path: 'preprocessor_config.json', json: preprocessor },
  }
}

function hashOf({ dims, data }: ImageTensor): string {
  return createHash('sha256').update(dims.join()).update(data).digest('hex').slice(0, 12)
}

/** The table of docs/models.md: comparisons per image processor class, and for timm and torchvision. */
export function servedTable(comparisons: Comparison[]): string {
  const rows = new Map<string, Record<string, Comparison[]>>()
  for (const comparison of comparisons) {
    const [name, backend] = sourceOf(comparison.golden)
    const row = rows.get(name) ?? {}
    row[backend] = [...(row[backend] ?? []), comparison]
    rows.set(name, row)
  }
  const { transformers, timm, torchvision, PIL } = versions
  return [
    `Made by transformers ${transformers}, timm ${timm}, torchvision ${torchvision.split('+')[0]} and Pillow ${PIL}:`,
    '',
    '| Made by | Pillow: configurations, tensors | torchvision: the same |',
    '|---|---|---|',
    ...[...rows].map(([name, row]) => `| ${name} | ${cell(row.pil)} | ${cell(row.torchvision)} |`),
  ].join('\n')
}

function cell(comparisons: Comparison[] = []): string {
  if (comparisons.length === 0) return ''
  const compared = comparisons.reduce((sum, { compared }) => sum + compared, 0)
  const differing = comparisons.reduce((sum, { differing }) => sum + differing.length, 0)
  return `${comparisons.length}, ${compared}${differing ? `; ${differing} are not equal` : ''}`
}

function sourceOf({ preprocessor }: Golden): [name: string, backend: string] {
  if (!preprocessor) return ['timm (`pretrained_cfg`)', 'pil']
  const type = preprocessor.image_processor_type as string | undefined
  const backend = type === 'PPLCNetImageProcessor' ? 'torchvision' : (preprocessor.backend as string)
  if (type) return [`\`${type}\``, backend ?? 'pil']
  if (preprocessor.crop_rounding || preprocessor.fuse_normalize === false)
    return ["torchvision: its weights' `transforms()`, and `v2` on tensors", backend ?? 'pil']
  return ['by hand, without a class', backend ?? 'pil']
}
