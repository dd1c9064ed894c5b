/**
 * The model's two ends: an image becomes the tensor that the model was trained on, its output becomes an answer.
 */

import { RequestError } from './lib/inference/errors.ts'
import {
  type Answer,
  bestClasses,
  type Prediction,
  type Result,
  type ScoreFunction,
} from './lib/inference/output_spec.ts'
import { convert, type Dtype, sizeOf, type Tensor, toNumbers } from './lib/inference/tensor.ts'
import { inThread } from './lib/workers/thread_pool.ts'
import {
  ImageError,
  preprocess as preprocessImage,
  preview as previewImage,
  type Recipe,
} from './preprocess/index.ts'

export interface ImageTask {
  /** bytes of a JPEG, PNG, WebP, GIF, AVIF or TIFF */
  file: Uint8Array
  recipe: Recipe
  /** largest width x height that is decoded */
  maxPixels: number
  /** of the model's input; default: the recipe's */
  dtype?: Dtype
}

const STATUS = { unsupported: 415, 'too-large': 413, 'too-complex': 413, broken: 422 }

function refuse(error: unknown): never {
  throw error instanceof ImageError ? new RequestError(STATUS[error.code], error.message) : error
}

/**
 * An image file as the tensor that the model was trained on.
 *
 * @returns [1, channels, height, width]
 * @throws RequestError 413, 415 or 422
 */
export async function preprocess({ file, recipe, maxPixels, dtype }: ImageTask): Promise<Tensor> {
  const tensor = await preprocessImage(file, recipe, { maxPixels }).catch(refuse)
  return convert(tensor, dtype ?? tensor.dtype)
}

/** The 8-bit picture on the way to the tensor, as a PNG file. */
export function preview({ file, recipe, maxPixels }: ImageTask): Promise<Uint8Array> {
  return previewImage(file, recipe, { maxPixels }).catch(refuse)
}

// the same two as the thread pool runs them
export const preprocessInThread = inThread(preprocess, ({ data }) => [data])
export const previewInThread = inThread(preview, (png) => [png])
export const IN_THREAD = {
  preprocess: { file: import.meta.filename, name: 'preprocessInThread' },
  preview: { file: import.meta.filename, name: 'previewInThread' },
}

/**
 * The model's output in words, one result per sample.
 *
 * @param output [n, classes]
 * @param input that it came from, [n, ...]; a regression from one number repeats it
 * @param topK how many predictions a single-label result lists; more than there are classes means all
 */
export function postprocess(output: Tensor, input: Tensor, answer: Answer, topK: number): Result[] {
  const numbers = toNumbers(output)
  const inputs = sizeOf(input.dims) === input.dims[0] ? toNumbers(input) : undefined
  const classes = sizeOf(output.dims.slice(1))
  return Array.from({ length: output.dims[0] }, (_, row) => {
    const values = new Float64Array(numbers.subarray(row * classes, (row + 1) * classes))
    const scores = applyFunction(values, answer.scoreFunction)
    return answer.kind === 'regression'
      ? regression(scores, inputs?.[row])
      : classification(scores, answer, topK)
  })
}

function regression(values: Float64Array, input: number | undefined): Result {
  const numbers = Array.from(values, finite)
  const prediction = numbers.length === 1 ? numbers[0] : numbers
  return input === undefined ? { prediction } : { input: shortest(input), prediction }
}

/** A float32 as a person would write it: the fewest digits that name it. */
function shortest(value: number): number {
  const { fround } = Math
  if (fround(value) !== value) return value
  const precise = [1, 2, 3, 4, 5, 6, 7, 8, 9].map((digits) => Number(value.toPrecision(digits)))
  return precise.find((short) => fround(short) === value) ?? value
}

function classification(scores: Float64Array, { kind, labels, threshold }: Answer, topK: number): Result {
  const isMultiLabel = kind === 'multi-label'
  const count = isMultiLabel ? scores.filter((score) => score > threshold).length : topK
  const predictions = bestClasses(scores, count).map(
    (index): Prediction => ({ label: labels[index], score: finite(scores[index]) }),
  )
  return isMultiLabel ? { predictions } : { ...predictions[0], predictions }
}

/** JSON has no NaN and no infinity. */
function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null
}

/** `softmax` and `sigmoid` of transformers' pipelines (image_classification.py), rounded to float32. */
function applyFunction(logits: Float64Array, name: ScoreFunction): Float64Array {
  const { exp, fround, max } = Math
  if (name === 'none') return logits
  if (name === 'sigmoid') return logits.map((x) => fround(1 / (1 + exp(-x))))
  // loops, since there can be thousands of classes, and a function called for each takes longer
  let largest = Number.NEGATIVE_INFINITY
  for (const x of logits) largest = max(largest, x)
  const scores = new Float64Array(logits.length)
  let sum = 0
  for (let i = 0; i < scores.length; i++) {
    scores[i] = exp(logits[i] - largest)
    sum += scores[i]
  }
  for (let i = 0; i < scores.length; i++) scores[i] = fround(scores[i] / sum)
  return scores
}
