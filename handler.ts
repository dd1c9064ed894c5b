/**
 * The model's two ends: an image becomes the tensor that the model was trained on, its output becomes an answer.
 */
import type { Answer, ScoreFunction } from './lib/answer.ts'
import { decode } from './lib/image.ts'
import { type Recipe, shapePixels, toPlanes } from './lib/recipe.ts'
import type { Pixels } from './lib/resample.ts'
import { sizeOf, type Tensor } from './lib/tensor.ts'
import { inThread } from './lib/thread_pool.ts'

export interface ImageTask {
  /** bytes of a JPEG, PNG, WebP, GIF, AVIF or TIFF */
  file: Uint8Array
  recipe: Recipe
  /** largest width x height that is decoded */
  maxPixels: number
}

/**
 * An image file as the model wants to see it, bit for bit what Pillow and NumPy make of it in Python.
 *
 * @returns float32 [1, channels, height, width]
 * @throws RequestError 413, 415 or 422, see `decode`
 */
export async function preprocess(task: ImageTask): Promise<Tensor> {
  const pixels = await preview(task)
  const data = toPlanes(pixels, task.recipe)
  return { dtype: 'float32', dims: [1, task.recipe.channels, pixels.height, pixels.width], data }
}

/** The 8-bit picture on the way to the tensor: decoded, resized and cropped, not yet scaled. */
export async function preview({ file, recipe, maxPixels }: ImageTask): Promise<Pixels> {
  return shapePixels(await decode(file, maxPixels), recipe)
}

// the same two as the thread pool runs them
export const preprocessInThread = inThread(preprocess)
export const previewInThread = inThread(preview)

export interface Prediction {
  label: string
  /** null where the model gave NaN */
  score: number | null
}

export type Result =
  | { label: string; score: number | null; predictions: Prediction[] }
  | { predictions: Prediction[] }
  | { prediction: number | null | (number | null)[] }

/**
 * The model's output in words, one result per sample.
 *
 * @param output [n, classes]
 * @param topK how many predictions a single-label result lists; more than there are classes means all
 */
export function postprocess(output: Tensor, answer: Answer, topK: number): Result[] {
  const classes = sizeOf(output.dims.slice(1))
  return Array.from({ length: output.dims[0] }, (_, row) => {
    const logits = Float32Array.from(output.data.subarray(row * classes, (row + 1) * classes) as Float32Array)
    return toResult(applyFunction(logits, answer.scoreFunction), answer, topK)
  })
}

function toResult(scores: Float32Array, answer: Answer, topK: number): Result {
  if (answer.kind === 'regression') {
    const numbers = Array.from(scores, finite)
    return { prediction: numbers.length === 1 ? numbers[0] : numbers }
  }
  const ranked = bestFirst(scores)
  const named = (index: number): Prediction => ({ label: answer.labels[index], score: finite(scores[index]) })
  if (answer.kind === 'multi-label') {
    return { predictions: ranked.filter((index) => scores[index] > answer.threshold).map(named) }
  }
  const predictions = ranked.slice(0, topK).map(named)
  return { ...predictions[0], predictions }
}

/** JSON has no NaN and no infinity. */
function finite(value: number): number | null {
  return Number.isFinite(value) ? value : null
}

/** Class indices by falling score; equal scores in class order, NaN last. */
function bestFirst(scores: Float32Array): number[] {
  const rank = (index: number) => (Number.isNaN(scores[index]) ? Number.NEGATIVE_INFINITY : scores[index])
  return Array.from(scores.keys()).sort((a, b) => rank(b) - rank(a) || a - b)
}

/** transformers' `softmax` and `sigmoid` (pipelines/text_classification.py), in float32. */
function applyFunction(logits: Float32Array, name: ScoreFunction): Float32Array {
  if (name === 'none') return logits
  if (name === 'sigmoid') return logits.map((x) => 1 / (1 + Math.exp(-x)))
  const largest = logits.reduce((a, b) => Math.max(a, b), Number.NEGATIVE_INFINITY)
  const powers = logits.map((x) => Math.exp(x - largest))
  const sum = powers.reduce((a, b) => a + b, 0)
  return powers.map((power) => power / sum)
}
