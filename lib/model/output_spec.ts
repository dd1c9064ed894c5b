/** The meaning of a model's output: the score function, the labels, and the kind of result. */

import { invalidKey, type JsonFile } from '../../preprocess/index.ts'
import { StartError } from '../inference/errors.ts'
import { sizeOf, type Tensor, toNumbers } from '../inference/tensor.ts'
import type { ModelFolder } from './model_folder.ts'

/** transformers' `function_to_apply` */
export const SCORE_FUNCTIONS = ['softmax', 'sigmoid', 'none'] as const
export type ScoreFunction = (typeof SCORE_FUNCTIONS)[number]

export interface OutputSpec {
  kind: 'single-label' | 'multi-label' | 'regression'
  scoreFunction: ScoreFunction
  /** one per class, in the order of the output; for a regression one per number */
  labels: readonly string[]
  /** multi-label: classes that score more than this, 0 to 1, are predicted */
  threshold: number
}

const PROBLEM_TYPES: Record<string, Pick<OutputSpec, 'kind' | 'scoreFunction'>> = {
  single_label_classification: { kind: 'single-label', scoreFunction: 'softmax' },
  multi_label_classification: { kind: 'multi-label', scoreFunction: 'sigmoid' },
  regression: { kind: 'regression', scoreFunction: 'none' },
}

/**
 * @param folder its config.json has problem_type, function_to_apply, threshold, id2label or label_names
 * @param output of the warm-up, [n, classes]
 * @param note called with each assumption
 * @throws StartError naming the key, what was expected and what was received
 */
export function readOutputSpec(
  { config }: ModelFolder,
  output: Tensor,
  note: (message: string) => void,
): OutputSpec {
  const { json } = config
  const classes = sizeOf(output.dims.slice(1))
  if (classes !== (output.dims[1] ?? 1)) {
    throw new StartError(
      `the model's output is [${output.dims}], expected [n,classes]: it is not a classifier`,
    )
  }
  const { kind, scoreFunction: usual } = readProblemType(config, classes, note)
  const named = json.function_to_apply ?? usual
  const scoreFunction = SCORE_FUNCTIONS.find((name) => name === named)
  if (!scoreFunction) throw invalidKey(config, 'function_to_apply', named, SCORE_FUNCTIONS.join(', '))
  const threshold = json.threshold ?? 0.5
  if (typeof threshold !== 'number' || !(threshold >= 0 && threshold <= 1)) {
    throw invalidKey(config, 'threshold', threshold, 'a number from 0 to 1')
  }
  if (json.function_to_apply === undefined && looksLikeScores(output, scoreFunction)) {
    note(
      `the model's output looks as if ${scoreFunction} was applied already, and it is applied again: ` +
        `if the graph ends in it, set function_to_apply to "none" in ${config.path}`,
    )
  }
  return Object.freeze({ kind, scoreFunction, labels: readLabels(config, classes), threshold })
}

function readProblemType(config: JsonFile, classes: number, note: (message: string) => void) {
  const { problem_type: type } = config.json
  if (type === undefined) {
    if (classes > 1) return PROBLEM_TYPES.single_label_classification
    note(`the model has one output and ${config.path} no problem_type: served as a regression`)
    return PROBLEM_TYPES.regression
  }
  if (typeof type === 'string' && Object.hasOwn(PROBLEM_TYPES, type)) return PROBLEM_TYPES[type]
  throw invalidKey(config, 'problem_type', type, Object.keys(PROBLEM_TYPES).join(', '))
}

/** Whether the first sample's outputs sum to 1 (softmax) or lie between 0 and 1 (sigmoid). */
function looksLikeScores(output: Tensor, scoreFunction: ScoreFunction): boolean {
  if (scoreFunction === 'none') return false
  const numbers = toNumbers(output)
  const scores = Array.from(numbers.subarray(0, numbers.length / output.dims[0]))
  if (!scores.every((score) => score >= 0 && score <= 1)) return false
  return scoreFunction === 'sigmoid' || Math.abs(scores.reduce((a, b) => a + b, 0) - 1) < 1e-3
}

/** Labels in class order, from `{"0": "cat", ...}` or a list; without either, the class numbers. */
function readLabels(config: JsonFile, classes: number): readonly string[] {
  const timm = config.json.pretrained_cfg as JsonFile['json'] | undefined
  const sources: [string, unknown][] = [
    ['id2label', config.json.id2label],
    ['label_names', config.json.label_names],
    ['pretrained_cfg.label_names', timm?.label_names],
  ]
  const numbers = Array.from({ length: classes }, (_, index) => String(index))
  const [key, names] = sources.find(([, value]) => value !== undefined && value !== null) ?? []
  if (!key) return numbers
  if (typeof names !== 'object') throw invalidKey(config, key, names, '{"0": "name", ...} or a list of names')
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
      `${config.path}: ${key} has no label for class ${number}, expected one for each class from 0 to ${classes - 1}`,
    )
  })
}
