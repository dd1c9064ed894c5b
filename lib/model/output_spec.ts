/** The meaning of a model's output: the score function, the labels, and the kind of result. */
import { invalidKey } from '../../preprocess/index.ts'
import { StartError } from '../inference/errors.ts'
import { sizeOf, type Tensor, type TensorSpec, toNumbers } from '../inference/tensor.ts'
import { chooseScores, type FirstOutput, isProbabilities } from './graph.ts'
import { findLabels, inClassOrder, prefixOf } from './labels.ts'
import type { ModelFolder } from './model_folder.ts'
import { labelsOf, type OnnxFile, originOf } from './onnx/onnx_file.ts'

/** transformers' `function_to_apply` */
export const SCORE_FUNCTIONS = ['softmax', 'sigmoid', 'none'] as const
export type ScoreFunction = (typeof SCORE_FUNCTIONS)[number]

export interface OutputSpec {
  kind: 'single-label' | 'multi-label' | 'regression'
  scoreFunction: ScoreFunction
  /** the output is one number: the score of the second of two classes */
  isBinary: boolean
  /** one per class, in the order of the output; for a regression one per number */
  labels: readonly string[]
  /** multi-label: classes that score more than this, 0 to 1, are predicted */
  threshold: number
  /** the operator that makes the output, if the graph shows it */
  operator: string | undefined
}

type Note = (message: string) => void

const KINDS: Record<string, OutputSpec['kind']> = {
  single_label_classification: 'single-label',
  multi_label_classification: 'multi-label',
  regression: 'regression',
}

/** The score functions that remain to be applied to the output of an operator. */
const LEFT_TO_APPLY: Record<string, ScoreFunction> = {
  Softmax: 'none',
  Sigmoid: 'none',
  LogSoftmax: 'softmax',
  // of ONNX Runtime's quantizer
  QLinearSoftmax: 'none',
  QLinearSigmoid: 'none',
}

/** Operators that make logits. */
const LINEAR = ['Gemm', 'MatMul', 'Add', 'Conv', 'QGemm', 'QLinearMatMul', 'QLinearAdd', 'QLinearConv']
/** Operators that make the score of each class by itself. */
const SIGMOIDS = ['Sigmoid', 'QLinearSigmoid']

export interface ModelOutputs {
  folder: ModelFolder
  file: OnnxFile
  /** names of all outputs, also of those that cannot be served */
  names: string[]
  /** the outputs with one row per sample */
  outputs: readonly FirstOutput[]
}

/** The output that has the scores, before its meaning is known. */
interface Scores extends Pick<OutputSpec, 'operator'>, Pick<FirstOutput, 'values' | 'runNoise'> {
  classes: number
  /** of the labels that the folder or the graph has */
  labelCount: number | undefined
  /** scikit-learn's and XGBoost's converters: beside an output of one label per sample, or one per class */
  besides?: 'label' | 'labels'
}

/**
 * Choose the output with the scores, and read its meaning from config.json or, where that leaves it open, from the graph.
 *
 * @param note called with each assumption
 * @returns the meaning, and the outputs with the scores first
 * @throws StartError or ConfigError naming the key, what was expected and what was received
 */
export async function readOutputSpec(
  { folder, file, names, outputs }: ModelOutputs,
  note: Note,
): Promise<{ spec: OutputSpec; specs: TensorSpec[] }> {
  const { config } = folder
  const ownLabels = folder.labels ?? names.map((name) => labelsOf(file, name)).find((list) => list)
  const labels = findLabels(config, ownLabels, note)
  const labelCount = labels?.byNumber.size
  const scores = chooseScores(outputs, config, labelCount, note)
  const { name } = scores.spec
  const { values, runNoise } = scores
  const classes = sizeOf(values.dims.slice(1))
  if (classes !== (values.dims[1] ?? 1)) {
    throw new StartError(
      `the model's output ${name} is [${values.dims}], expected [n,classes]: it is not a classifier`,
    )
  }
  const operator = originOf(file, name)?.operator
  const others = outputs.filter((output) => output !== scores)
  const read: Scores = { values, runNoise, classes, labelCount, operator }
  if (names.length > 1 && isProbabilities(scores.spec))
    read.besides = others.some((other) => classes > 1 && other.values.dims[1] === classes)
      ? 'labels'
      : 'label'
  const kind = readKind(folder, read, note)
  const isBinary = kind === 'single-label' && classes === 1 && labelCount !== 1
  const spec: OutputSpec = {
    kind,
    scoreFunction: await readScoreFunction(folder, read, kind, note),
    isBinary,
    labels: inClassOrder(labels, isBinary ? 2 : classes, kind === 'regression' ? '' : prefixOf(config)),
    threshold: readThreshold(folder, kind, note),
    operator,
  }
  return { spec: Object.freeze(spec), specs: [scores, ...others].map((output) => output.spec) }
}

function readKind(
  { config }: ModelFolder,
  { classes, operator = '', labelCount, besides }: Scores,
  note: Note,
): OutputSpec['kind'] {
  const { problem_type: type } = config.json
  if (type !== undefined) {
    if (typeof type === 'string' && Object.hasOwn(KINDS, type)) return KINDS[type]
    throw invalidKey(config, 'problem_type', type, Object.keys(KINDS).join(', '))
  }
  const orSay = `; set problem_type in ${config.path} if it is something else`
  const isSigmoid = SIGMOIDS.includes(operator)
  if (besides === 'labels') return 'multi-label'
  if (classes > 1) {
    if (!isSigmoid) return 'single-label'
    note(`the graph ends in Sigmoid, for ${classes} classes: served as multi-label${orSay}`)
    return 'multi-label'
  }
  if (labelCount === 2) return 'single-label'
  if (isSigmoid) {
    note(`the graph ends in Sigmoid, for one number: served as the score of class 1, against class 0${orSay}`)
    return 'single-label'
  }
  note(`the model has one output, and ${config.path} has no problem_type: served as a regression`)
  return 'regression'
}

async function readScoreFunction(
  { config }: ModelFolder,
  { values, runNoise, classes, operator = '', besides }: Scores,
  kind: OutputSpec['kind'],
  note: Note,
): Promise<ScoreFunction> {
  const usual = {
    'single-label': classes === 1 ? 'sigmoid' : 'softmax',
    'multi-label': 'sigmoid',
    regression: 'none',
  }
  const { function_to_apply: wanted } = config.json
  if (wanted !== undefined) {
    const named = SCORE_FUNCTIONS.find((name) => name === wanted)
    if (!named) throw invalidKey(config, 'function_to_apply', wanted, SCORE_FUNCTIONS.join(', '))
    if (named !== 'none' && LEFT_TO_APPLY[operator] === 'none')
      note(
        `the graph ends in ${operator}, and ${config.path} sets function_to_apply to ${named}: both are applied`,
      )
    return named
  }
  const orSay = (name: string) =>
    `; if these are logits, set function_to_apply to "${name}" in ${config.path}`
  if (besides === 'label' && !looksLikeScores(values, 'softmax'))
    note(`the model's probabilities do not sum to 1, and are used as they are${orSay('softmax')}`)
  if (kind === 'regression' || besides) return 'none'
  if (LEFT_TO_APPLY[operator]) return LEFT_TO_APPLY[operator]
  const scoreFunction = usual[kind] as ScoreFunction
  // logits can look like scores by chance, but hardly twice
  const looksApplied = async (name: ScoreFunction) => {
    if (!looksLikeScores(values, name)) return false
    const noisy = await runNoise()
    return !noisy || looksLikeScores(noisy, name)
  }
  const isLinear = LINEAR.includes(operator)
  // a few logits can lie between 0 and 1; but a mean of softmaxes ends in Add, and sums to 1
  if (isLinear && scoreFunction === 'sigmoid') return scoreFunction
  if (await looksApplied(scoreFunction)) {
    const applied = `${scoreFunction} has already been applied, so the output is used as it is`
    note(`the model's output looks as if ${applied}${orSay(scoreFunction)}`)
    return 'none'
  }
  if (!isLinear && scoreFunction === 'softmax' && (await looksApplied('sigmoid')))
    note(
      `the model's output lies between 0 and 1, and softmax is applied to it; if these are scores already, set ` +
        `function_to_apply to "none" in ${config.path}`,
    )
  return scoreFunction
}

/** Whether the first sample's outputs sum to 1 (softmax) or lie between 0 and 1 (sigmoid). */
function looksLikeScores(output: Tensor, scoreFunction: ScoreFunction): boolean {
  const numbers = toNumbers(output)
  const scores = Array.from(numbers.subarray(0, numbers.length / output.dims[0]))
  if (scores.some(Number.isNaN)) return true // noise can overflow an exponential: it says nothing
  if (!scores.every((score) => score >= 0 && score <= 1)) return false
  return scoreFunction === 'sigmoid' || Math.abs(scores.reduce((a, b) => a + b, 0) - 1) < 1e-3
}

function readThreshold({ config }: ModelFolder, kind: OutputSpec['kind'], note: Note): number {
  const { threshold } = config.json
  if (threshold === undefined) return 0.5
  if (typeof threshold !== 'number' || !(threshold >= 0 && threshold <= 1))
    throw invalidKey(config, 'threshold', threshold, 'a number from 0 to 1')
  if (kind !== 'multi-label') note(`${config.path}: threshold has no effect on a ${kind} model`)
  return threshold
}
