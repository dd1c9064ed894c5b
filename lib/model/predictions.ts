/** From scores to predictions: score functions, ranking, and results as text. */
import { RequestError } from '../inference/errors.ts'
import type { OutputSpec, ScoreFunction } from './output_spec.ts'

export interface Prediction {
  label: string
  /** null where the model's output is NaN */
  score: number | null
}

/** The result of one sample: single label, multi-label or regression. */
export type Result =
  | { label: string; score: number | null; predictions: Prediction[] }
  | { predictions: Prediction[] }
  | { input?: number; prediction: number | null | (number | null)[] }

/** Most scores to rank for one request: ranking runs on the event loop. */
const MAX_SCORES = 1_000_000
/** Most predictions in one response: some megabytes of JSON, written on the event loop. */
const MAX_PREDICTIONS = 50_000

/**
 * @param topK predictions per sample
 * @throws RequestError 413 when several samples together have too many scores or predictions
 */
export function checkResultSize(samples: number, classes: number, topK: number): void {
  if (samples === 1) return
  const scores = samples * classes
  if (scores > MAX_SCORES) {
    const detail = `${samples} samples of ${classes} classes are ${scores} scores; the limit is ${MAX_SCORES}: send fewer samples`
    throw new RequestError(413, detail)
  }
  const predictions = samples * Math.min(topK, classes)
  if (predictions > MAX_PREDICTIONS) {
    const detail = `${samples} samples with top_k ${topK} are ${predictions} predictions; the limit is ${MAX_PREDICTIONS}: send fewer samples`
    throw new RequestError(413, detail)
  }
}

/**
 * `softmax` and `sigmoid` of transformers' pipelines (image_classification.py), rounded to float32.
 *
 * @param logits of one sample
 */
function applyScoreFunction(logits: Float64Array, name: ScoreFunction): Float64Array {
  const { exp, fround, max } = Math
  if (name === 'none') return logits
  if (name === 'sigmoid') return logits.map((x) => fround(1 / (1 + exp(-x))))
  // loops instead of callbacks: there can be thousands of classes
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

/** The scores of one sample, in class order. */
export function scoresOf(
  output: Float64Array,
  { scoreFunction, isBinary }: Pick<OutputSpec, 'scoreFunction' | 'isBinary'>,
): Float64Array {
  const scores = applyScoreFunction(output, scoreFunction)
  return isBinary ? Float64Array.of(Math.fround(1 - scores[0]), scores[0]) : scores
}

/** The indices of the `k` largest scores, largest first; equal scores in class order, NaN last. */
export function topKClasses(scores: ArrayLike<number>, k: number): number[] {
  if (k === 0) return []
  const rank = (index: number) => (Number.isNaN(scores[index]) ? Number.NEGATIVE_INFINITY : scores[index])
  const byRank = (a: number, b: number) => rank(b) - rank(a) || a - b
  const chosen: number[] = []
  let worst: number | undefined
  for (let index = 0; index < scores.length; index++) {
    // most of thousands of classes are no better than the k best so far
    if (worst !== undefined && !(scores[index] > worst)) continue
    chosen.push(index)
    if (chosen.length < 2 * k) continue
    chosen.sort(byRank).length = k
    worst = rank(chosen[k - 1])
  }
  return chosen.sort(byRank).slice(0, k)
}

/** One line per sample: its label; all labels of a multi-label result; the number of a regression. */
export function toText(results: Result[]): string {
  const lines = results.map((result) => {
    if ('label' in result) return result.label
    if ('predictions' in result) return result.predictions.map(({ label }) => label).join(', ')
    return String(result.prediction)
  })
  return lines.join('\n')
}
