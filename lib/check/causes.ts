/**
 * Finds by trial why a tensor differs from Python's: if another recipe gives Python's bits for every image, the difference
 * between the two recipes is the cause.
 */
import type { Recipe } from '../../preprocess/index.ts'
import type { Dtype, Tensor } from '../inference/tensor.ts'
import { type OutputSpec, SCORE_FUNCTIONS } from '../model/output_spec.ts'
import { scoresOf } from '../model/predictions.ts'
import type { CheckCase, ExpectedTensor } from './check_file.ts'
import { areClose, type CaseResult, type CheckedModel, hasDims, hasHash } from './compare.ts'
import { type Cause, fitLines, joined, type NumberVariation, numberVariationsOf } from './numbers.ts'
import { type Variation, variationsOf, withoutOrientation } from './variations.ts'

/** A case with an image. */
interface ImageCase {
  image: Uint8Array
  tensor: ExpectedTensor
}

/** Longest search, in milliseconds. */
const SEARCH_MS = 30_000

/**
 * The cause of tensors that differ.
 *
 * @param isTimm whether the folder has timm's keys
 * @returns undefined if no variation of the recipe makes the expected bits of all images
 */
export async function findCause(
  cases: CheckCase[],
  model: CheckedModel,
  isTimm: boolean,
): Promise<Cause | undefined> {
  const { recipe } = model
  const images = cases.filter((checked) => checked.image && checked.tensor) as ImageCase[]
  const differing = await filterAsync(images, (checked) => differs(model, checked, recipe!))
  // the smallest one is tried first: there are thousands of combinations
  const [probe] = differing.toSorted((a, b) => a.image.length - b.image.length)
  if (!recipe || !probe) return undefined
  const [, ...dims] = probe.tensor.dims
  const [channels, height, width] = recipe.layout === 'nhwc' ? [dims[2], dims[0], dims[1]] : dims
  if (channels !== recipe.channels) return undefined

  const endAt = performance.now() + SEARCH_MS
  for (const chosen of combinations(variationsOf(recipe, { width, height }, isTimm))) {
    if (performance.now() > endAt) return undefined
    const tried = await tryVariations(chosen, model, recipe, probe, isTimm)
    if (!tried) continue
    const isCause = await everyAsync(
      images,
      async (checked) => !(await differs(model, checked, tried.recipe, chosen)),
    )
    if (isCause) return joined([...chosen, ...tried.numbers])
  }
  return undefined
}

/** No variation, one, or two of different aspects; and each with the other rounding of the crop. */
function* combinations(variations: Variation[]): Generator<Variation[]> {
  const others = variations.filter(({ aspect }) => aspect !== 'crop')
  const rounding = variations.filter(({ aspect }) => aspect === 'crop')
  yield []
  yield rounding
  for (const one of others) {
    yield [one]
    yield [one, ...rounding]
  }
  for (const [i, one] of others.entries()) {
    for (const two of others.slice(i + 1)) {
      if (one.aspect === two.aspect) continue
      yield [one, two]
      yield [one, two, ...rounding]
    }
  }
}

/** @returns the recipe that makes the expected tensor, with the numbers that differ too */
async function tryVariations(
  chosen: Variation[],
  model: CheckedModel,
  recipe: Recipe,
  probe: ImageCase,
  isTimm: boolean,
): Promise<{ recipe: Recipe; numbers: NumberVariation[] } | undefined> {
  const varied = chosen.reduce((changed, { change }) => change(changed), recipe)
  if (!(await differs(model, probe, varied, chosen))) return { recipe: varied, numbers: [] }
  if (probe.tensor.dtype !== 'float32') return undefined
  const levels = await make(model, probe.image, { ...varied, dtype: 'uint8', normalize: [] }, 'uint8', chosen)
  const lines =
    levels && hasDims(levels, probe.tensor) ? fitLines(levels, probe.tensor, recipe.layout) : undefined
  if (!lines) return undefined
  for (const numbers of numberVariationsOf(varied, lines, isTimm)) {
    const candidate = numbers.change(varied)
    if (!(await differs(model, probe, candidate, chosen))) return { recipe: candidate, numbers: [numbers] }
  }
  return undefined
}

async function differs(
  model: CheckedModel,
  { image, tensor: expected }: ImageCase,
  recipe: Recipe,
  chosen: Variation[] = [],
): Promise<boolean> {
  const made = await make(model, image, recipe, expected.dtype, chosen)
  return !made || !hasDims(made, expected) || !hasHash(made, expected)
}

/** @returns undefined if the image cannot be preprocessed that way */
async function make(
  model: CheckedModel,
  image: Uint8Array,
  recipe: Recipe,
  dtype: Dtype,
  chosen: Variation[],
): Promise<Tensor | undefined> {
  const isStored = chosen.some(({ aspect }) => aspect === 'exif')
  const file = (isStored && (await withoutOrientation(image))) || image
  return model.preprocess(file, recipe, dtype).catch(() => undefined)
}

/** The function that makes the expected scores of the graph's outputs. */
export function findScoreFunction(
  cases: CheckCase[],
  results: CaseResult[],
  { isBinary }: OutputSpec,
): Cause | undefined {
  const name = SCORE_FUNCTIONS.find((scoreFunction) =>
    results.every(({ output }, i) =>
      areClose(scoresOf(output, { scoreFunction, isBinary }), cases[i].scores),
    ),
  )
  if (!name) return undefined
  const made = name === 'none' ? "the graph's output was taken as it is" : `the scores were made by ${name}`
  return { made, fix: `"function_to_apply": "${name}"` }
}

async function filterAsync<T>(items: T[], isKept: (item: T) => Promise<boolean>): Promise<T[]> {
  const kept: T[] = []
  for (const item of items) if (await isKept(item)) kept.push(item)
  return kept
}

async function everyAsync<T>(items: T[], holds: (item: T) => Promise<boolean>): Promise<boolean> {
  for (const item of items) if (!(await holds(item))) return false
  return true
}
