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
  const { name, version, source, device, input, outputs, recipe, outputSpec } = model
  const { notes, batchSize, samplePath, samplePaths } = model
  const { kind, labels, threshold } = outputSpec
  return {
    name,
    version,
    source,
    device,
    input: { ...input, takesImages: recipe !== undefined },
    inputs: [input],
    outputs,
    kind,
    labels,
    threshold: kind === 'multi-label' ? threshold : undefined,
    notes,
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
  const { name, version, source, device, input, outputs, recipe, outputSpec, batchSize } = model
  const steps = recipe && describeRecipe(recipe).map((step, i) => `${i + 1}. ${step}`)
  const rows: [string, string[]][] = [
    ['model', [`${name}, version ${version}`]],
    ['from', source ? [source] : []],
    ['runs on', [`${device}, in batches of up to ${batchSize}`]],
    ['input', [specText(input)]],
    ['images', steps ?? ['none: the model takes tensors']],
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

function resultText({ kind, scoreFunction, isBinary, threshold, labels, operator }: OutputSpec): string {
  const reason = /^(Log)?Softmax$|^Sigmoid$/.test(operator ?? '') ? `, which ends in ${operator}` : ''
  const output = `the graph's output${reason}`
  const scores = scoreFunction === 'none' ? `${output}, as it is` : `${scoreFunction} of ${output}`
  if (kind === 'regression')
    return `${labels.length === 1 ? 'a number' : `${labels.length} numbers`}: ${scores}`
  if (kind === 'multi-label') return `the labels with scores above ${threshold}: ${scores}`
  return isBinary ? `${labels[1]} with this score, else ${labels[0]}: ${scores}` : `the best label: ${scores}`
}

function shorten(labels: readonly string[]): string {
  if (labels.length <= 12) return labels.join(', ')
  return `${labels.slice(0, 6).join(', ')}, ... ${labels.at(-1)} (${labels.length})`
}
