/** Compares what the server makes of a case with what Python made of it. */
import { createHash } from 'node:crypto'
import type { Recipe } from '../../preprocess/index.ts'
import { messageOf, RequestError } from '../inference/errors.ts'
import { type Dtype, type Tensor, toBytes, toNumbers } from '../inference/tensor.ts'
import type { ModelInfo } from '../model/model_info.ts'
import { scoresOf } from '../model/predictions.ts'
import type { CheckCase, ExpectedTensor } from './check_file.ts'

/** Scores may differ by this much, or by this share of a number above 1: runtimes sum in different orders. */
const TOLERANCE = 1e-5

/** The model, as the check uses it. */
export interface CheckedModel extends Pick<ModelInfo, 'input' | 'recipe' | 'outputSpec'> {
  /** @returns [1, channels, height, width] of `dtype` */
  preprocess(image: Uint8Array, recipe: Recipe, dtype: Dtype): Promise<Tensor>
  /** @returns the graph's first output, [1, classes] */
  predict(input: Tensor): Promise<Tensor>
}

export interface CaseResult {
  name: string
  isEqual: boolean
  /** in words; undefined for a case without an image */
  tensor: string | undefined
  scores: string
  /** whether the tensor has the same bits */
  isTensorEqual: boolean
  /** the graph's output, before softmax or sigmoid */
  output: Float64Array
}

const EQUAL = 'equal'

/** @throws RequestError 503 when the model is closed */
export async function compareCase(checked: CheckCase, model: CheckedModel): Promise<CaseResult> {
  const { name, image, tensor: expected } = checked
  let { input } = checked
  let tensor: string | undefined
  try {
    if (image && expected) {
      if (!model.recipe) throw new Error('the model takes no images')
      const made = await model.preprocess(image, model.recipe, expected.dtype)
      tensor = compareTensor(made, expected)
      input =
        expected.dtype === model.input.dtype
          ? made
          : await model.preprocess(image, model.recipe, model.input.dtype)
    }
    const output = new Float64Array(toNumbers(await model.predict(input!)))
    const scores = compareScores(scoresOf(output, model.outputSpec), checked.scores)
    const isTensorEqual = tensor === undefined || tensor === EQUAL
    return { name, tensor, scores, output, isTensorEqual, isEqual: isTensorEqual && scores.startsWith(EQUAL) }
  } catch (error) {
    if (error instanceof RequestError && error.status === 503) throw error // the model has been closed
    const failed = { isEqual: false, isTensorEqual: tensor === EQUAL, output: new Float64Array() }
    return { name, tensor, scores: `failed: ${messageOf(error)}`, ...failed }
  }
}

/** Whether a tensor has the same bits. */
export function hasHash({ data }: Tensor, { sha256 }: ExpectedTensor): boolean {
  return createHash('sha256').update(toBytes(data)).digest('hex') === sha256
}

export function hasDims({ dims }: Tensor, expected: ExpectedTensor): boolean {
  return dims.join() === expected.dims.join()
}

function compareTensor(made: Tensor, expected: ExpectedTensor): string {
  if (!hasDims(made, expected)) return `is [${made.dims}], expected [${expected.dims}]`
  if (hasHash(made, expected)) return EQUAL
  const numbers = toNumbers(made)
  const differences = Array.from(expected.values, (value, i) =>
    Math.abs(numbers[i * expected.stride] - value),
  )
  const differing = differences.filter((difference) => difference !== 0).length
  const sampled = `${differing} of ${differences.length}${expected.stride > 1 ? ' sampled' : ''} values differ`
  return `${sampled}, by up to ${shorten(Math.max(...differences))}`
}

function compareScores(made: Float64Array, expected: number[]): string {
  if (made.length !== expected.length) return `are ${made.length}, expected ${expected.length}`
  const largest = largestDifference(made, expected)
  if (largest === 0) return EQUAL
  return areClose(made, expected) ? `${EQUAL} to ${shorten(largest)}` : `differ by up to ${shorten(largest)}`
}

function largestDifference(made: Float64Array, expected: number[]): number {
  return expected.reduce((most, score, i) => Math.max(most, Math.abs(made[i] - score)), 0)
}

export function areClose(made: Float64Array, expected: number[]): boolean {
  return expected.every((score, i) => Math.abs(made[i] - score) <= TOLERANCE * Math.max(1, Math.abs(score)))
}

function shorten(number: number): string {
  return String(Number(number.toPrecision(2)))
}
