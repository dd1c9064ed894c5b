/** What is served: in words for `npm run describe`, as JSON for `GET /model`. */

import { describeRecipe, type Recipe } from '../../preprocess/index.ts'
import { maxUploadBytes, type Settings } from '../process/settings.ts'
import type { Answer } from './output_spec.ts'
import type { AnySpec, TensorSpec } from './tensor.ts'

/** What there is to know about a loaded model. */
export interface ModelDescription {
  name: string
  version: string
  /** the execution provider it runs on */
  device: string
  /** the first of the inputs, which /predict feeds */
  input: TensorSpec
  /** all that the graph declares, in its order */
  inputs: readonly AnySpec[]
  /** those that can be asked for, the scores first */
  outputs: readonly AnySpec[]
  /** how an image becomes the input; undefined for a model that takes none */
  recipe: Recipe | undefined
  answer: Answer
  /** most samples in a batch */
  batchSize: number
  /** path of an example image, if the folder has one */
  samplePath: string | undefined
}

/** The answer of `GET /model`; sizes in bytes, pixels and samples. */
export function asJson(model: ModelDescription, settings: Settings) {
  const { name, version, device, input, inputs, outputs, recipe, answer, batchSize, samplePath } = model
  return {
    name,
    version,
    device,
    input: { ...input, takesImages: recipe !== undefined },
    inputs,
    outputs,
    kind: answer.kind,
    labels: answer.labels,
    threshold: answer.kind === 'multi-label' ? answer.threshold : undefined,
    sample: samplePath && '/model/sample',
    limits: {
      maxUploadBytes: maxUploadBytes(settings),
      maxPixels: settings.MAX_PIXELS,
      maxBatchSize: batchSize,
      maxQueue: settings.MAX_QUEUE,
    },
  }
}

/** @returns a few lines: a heading, two spaces, what there is */
export function inWords({
  name,
  version,
  device,
  inputs,
  outputs,
  recipe,
  answer,
  batchSize,
}: ModelDescription): string {
  const rows: [string, string[]][] = [
    ['model', [`${name}, version ${version}`]],
    ['runs on', [`${device}, in batches of up to ${batchSize}`]],
    ['input', inputs.map(specInWords)],
    [
      'images',
      recipe ? describeRecipe(recipe).map((step, i) => `${i + 1}. ${step}`) : ['none: it takes tensors'],
    ],
    ['output', outputs.map(specInWords)],
    ['answer', [answerInWords(answer)]],
    ['labels', [shorten(answer.labels)]],
  ]
  return rows
    .flatMap(([heading, lines]) => lines.map((line, i) => `${(i === 0 ? heading : '').padEnd(9)}${line}`))
    .join('\n')
}

function specInWords({ name, dtype, dims }: AnySpec): string {
  return `${name}: ${dtype} [${dims.map((dim) => dim || '?')}]`
}

function answerInWords({ kind, scoreFunction, threshold, labels }: Answer): string {
  if (kind === 'tensors') return 'tensors, by the Open Inference Protocol: /predict feeds one input'
  const by =
    scoreFunction === 'none' ? 'scores as the graph gives them' : `${scoreFunction} of the graph's output`
  if (kind === 'regression') return `${labels.length === 1 ? 'a number' : `${labels.length} numbers`}, ${by}`
  if (kind === 'multi-label') return `the labels that score more than ${threshold}: ${by}`
  return `the best label: ${by}`
}

function shorten(labels: readonly string[]): string {
  if (labels.length <= 12) return labels.join(', ')
  return `${labels.slice(0, 6).join(', ')}, ... ${labels.at(-1)} (${labels.length})`
}
