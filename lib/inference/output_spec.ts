/** What a model's output means: which function makes scores of it, what the classes are called, what is answered. */
import { RequestError, StartError } from './errors.ts'
import { type Json, type JsonFile, type ModelFolder, wrongKey } from './model_folder.ts'
import { type AnyTensor, sizeOf, type Tensor, toNumbers } from './tensor.ts'

/** transformers' `function_to_apply` */
export const FUNCTIONS = ['softmax', 'sigmoid', 'none'] as const
export type ScoreFunction = (typeof FUNCTIONS)[number]

export interface Answer {
  /** tensors: a graph with several inputs, which only the Open Inference Protocol can feed */
  kind: 'single-label' | 'multi-label' | 'regression' | 'tensors'
  scoreFunction: ScoreFunction
  /** one per class, in the order of the output; regression: one per number */
  labels: readonly string[]
  /** multi-label: classes with a score above it are answered */
  threshold: number
}

export interface Prediction {
  label: string
  /** null where the model gave NaN */
  score: number | null
}

export type Result =
  | { label: string; score: number | null; predictions: Prediction[] }
  | { predictions: Prediction[] }
  | { input?: number; prediction: number | null | (number | null)[] }

const KINDS: Record<string, Pick<Answer, 'kind' | 'scoreFunction'>> = {
  single_label_classification: { kind: 'single-label', scoreFunction: 'softmax' },
  multi_label_classification: { kind: 'multi-label', scoreFunction: 'sigmoid' },
  regression: { kind: 'regression', scoreFunction: 'none' },
}

/**
 * @param folder its config.json has problem_type, function_to_apply, threshold, id2label or label_names
 * @param inputs how many the graph has
 * @param output of the warm-up, [n, classes]
 * @param warn told what was assumed
 * @throws StartError naming the key, what was expected and what came
 */
export function readAnswer(
  { config }: ModelFolder,
  inputs: number,
  output: AnyTensor,
  warn: (message: string) => void,
): Answer {
  const { json } = config
  const classes = sizeOf(output.dims.slice(1))
  if (inputs > 1 || output.dtype === 'string') {
    return Object.freeze({
      kind: 'tensors',
      scoreFunction: 'none',
      labels: readLabels(config, classes),
      threshold: 0,
    })
  }
  if (classes !== (output.dims[1] ?? 1)) {
    throw new StartError(`the model answers [${output.dims}], expected [n,classes]: it is no classifier`)
  }
  const rule = readKind(config, classes, warn)
  const named = json.function_to_apply ?? rule.scoreFunction
  const scoreFunction = FUNCTIONS.find((name) => name === named)
  if (!scoreFunction) throw wrongKey(config, 'function_to_apply', named, FUNCTIONS.join(', '))
  const threshold = json.threshold ?? 0.5
  if (typeof threshold !== 'number' || !(threshold >= 0 && threshold <= 1)) {
    throw wrongKey(config, 'threshold', threshold, 'a number from 0 to 1')
  }
  if (
    json.function_to_apply === undefined &&
    scoreFunction !== 'none' &&
    looksLikeScores(output, scoreFunction)
  ) {
    warn(
      `the model's output looks as if ${scoreFunction} was applied already, and it is applied again: ` +
        `if the graph ends in it, set function_to_apply to "none" in ${config.path}`,
    )
  }
  return Object.freeze({ kind: rule.kind, scoreFunction, labels: readLabels(config, classes), threshold })
}

function readKind(config: JsonFile, classes: number, warn: (message: string) => void) {
  const { problem_type: problem } = config.json
  if (problem === undefined) {
    if (classes > 1) return KINDS.single_label_classification
    warn(`the model has one output and ${config.path} no problem_type: served as a regression`)
    return KINDS.regression
  }
  if (typeof problem === 'string' && Object.hasOwn(KINDS, problem)) return KINDS[problem]
  throw wrongKey(config, 'problem_type', problem, Object.keys(KINDS).join(', '))
}

/** Whether one answer of the model sums to 1 (softmax) or lies between 0 and 1 (sigmoid). */
function looksLikeScores(output: Tensor, scoreFunction: ScoreFunction): boolean {
  const numbers = toNumbers(output)
  const scores = Array.from(numbers.subarray(0, numbers.length / output.dims[0]))
  if (!scores.every((score) => score >= 0 && score <= 1)) return false
  return scoreFunction === 'sigmoid' || Math.abs(scores.reduce((a, b) => a + b, 0) - 1) < 1e-3
}

/** Names in class order, from `{"0": "cat", ...}` or a list; without any, the class numbers. */
function readLabels(config: JsonFile, classes: number): readonly string[] {
  const timm = config.json.pretrained_cfg as Json | undefined
  const sources: [string, unknown][] = [
    ['id2label', config.json.id2label],
    ['label_names', config.json.label_names],
    ['pretrained_cfg.label_names', timm?.label_names],
  ]
  const numbers = Array.from({ length: classes }, (_, index) => String(index))
  const [key, names] = sources.find(([, value]) => value !== undefined && value !== null) ?? []
  if (!key) return numbers
  if (typeof names !== 'object') throw wrongKey(config, key, names, '{"0": "name", ...} or a list of names')
  const byNumber = new Map(Object.entries(names as object))
  if (byNumber.size !== classes) {
    throw new StartError(
      `${config.path}: ${key} has ${byNumber.size} labels, but the model's output has ${classes} classes`,
    )
  }
  return numbers.map((number) => {
    const name = byNumber.get(number)
    if (typeof name === 'string') return name
    throw new StartError(
      `${config.path}: ${key} has no label for class ${number}, expected one for each from 0 to ${classes - 1}`,
    )
  })
}

/** most scores that are ranked for one request: that is done on the event loop, and must not take long */
const MAX_SCORES = 1_000_000

/** @throws RequestError 413 */
export function checkScores(samples: number, classes: number): void {
  if (samples === 1 || samples * classes <= MAX_SCORES) return
  const detail = `${samples} samples of ${classes} classes are more than ${MAX_SCORES} scores: send fewer at once`
  throw new RequestError(413, detail)
}

/** The `k` best classes, best first; equal scores in class order, NaN last. */
export function bestClasses(scores: ArrayLike<number>, k: number): number[] {
  if (k === 0) return []
  const rank = (index: number) => (Number.isNaN(scores[index]) ? Number.NEGATIVE_INFINITY : scores[index])
  const byRank = (a: number, b: number) => rank(b) - rank(a) || a - b
  const chosen: number[] = []
  let worst: number | undefined
  for (let index = 0; index < scores.length; index++) {
    // of thousands of classes most are no better than the k best so far, and are passed over at once
    if (worst !== undefined && !(scores[index] > worst)) continue
    chosen.push(index)
    if (chosen.length < 2 * k) continue
    chosen.sort(byRank).length = k
    worst = rank(chosen[k - 1])
  }
  return chosen.sort(byRank).slice(0, k)
}

/** One line per input: the label; of a multi-label model all labels; of a regression the number. */
export function toText(results: Result[]): string {
  const lines = results.map((result) => {
    if ('label' in result) return result.label
    if ('predictions' in result) return result.predictions.map(({ label }) => label).join(', ')
    return String(result.prediction)
  })
  return lines.join('\n')
}
