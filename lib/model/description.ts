/** Descriptions of the model: text for `npm run describe`, JSON for `GET /model`. */
import { basename } from 'node:path'
import { describeRecipe } from '../../preprocess/index.ts'
import type { TensorSpec } from '../inference/tensor.ts'
import { shapeText } from './graph.ts'
import type { ModelInfo } from './model_info.ts'
import type { OutputSpec } from './output_spec.ts'

/** Sizes of a request: in bytes, pixels and samples. */
export interface RequestLimits {
  maxUploadBytes: number
  maxPixels: number
  maxQueue: number
}

/** The response of `GET /model`. */
export function modelJson(model: ModelInfo, limits: RequestLimits) {
  const { name, version, device, input, outputs, recipe, outputSpec, batchSize, samplePath, samplePaths } =
    model
  const { kind, labels, threshold } = outputSpec
  return {
    name,
    version,
    device,
    input: { ...input, takesImages: recipe !== undefined },
    inputs: [input],
    outputs,
    kind,
    labels,
    threshold: kind === 'multi-label' ? threshold : undefined,
    sample: samplePath && '/model/sample',
    samples: [
      ...(samplePath ? ['/model/sample'] : []),
      ...samplePaths.map((path) => `/model/samples/${encodeURIComponent(basename(path))}`),
    ],
    limits: { ...limits, maxBatchSize: batchSize },
  }
}

/** @returns lines: a heading, padded to nine columns, and its text */
export function formatDescription(model: ModelInfo): string {
  const { name, version, device, input, outputs, recipe, outputSpec, batchSize } = model
  const steps = recipe && describeRecipe(recipe).map((step, i) => `${i + 1}. ${step}`)
  const rows: [string, string[]][] = [
    ['model', [`${name}, version ${version}`]],
    ['runs on', [`${device}, in batches of up to ${batchSize}`]],
    ['input', [specText(input)]],
    ['images', steps ?? ['none: it takes tensors']],
    ['output', outputs.map(specText)],
    ['result', [resultText(outputSpec)]],
    ['labels', [shorten(outputSpec.labels)]],
  ]
  return rows
    .flatMap(([heading, lines]) => lines.map((line, i) => `${(i === 0 ? heading : '').padEnd(9)}${line}`))
    .join('\n')
}

function specText(spec: TensorSpec): string {
  return `${spec.name}: ${spec.dtype} ${shapeText(spec)}`
}

function resultText({ kind, scoreFunction, threshold, labels }: OutputSpec): string {
  const scores =
    scoreFunction === 'none' ? "the graph's output as it is" : `${scoreFunction} of the graph's output`
  if (kind === 'regression')
    return `${labels.length === 1 ? 'a number' : `${labels.length} numbers`}, ${scores}`
  if (kind === 'multi-label') return `the labels that score more than ${threshold}: ${scores}`
  return `the best label: ${scores}`
}

function shorten(labels: readonly string[]): string {
  if (labels.length <= 12) return labels.join(', ')
  return `${labels.slice(0, 6).join(', ')}, ... ${labels.at(-1)} (${labels.length})`
}
