/** The response of an inference request: JSON, and after it the binary tensors. */
import type { Response } from 'express'
import { RequestError } from '../../lib/inference/errors.ts'
import { sizeOf, type Tensor, toBytes, toNumbers } from '../../lib/inference/tensor.ts'
import type { Model } from '../../lib/model/model_info.ts'
import { checkResultSize, topKClasses } from '../../lib/model/predictions.ts'
import { JSON_LENGTH_HEADER, type RequestedOutput } from './request.ts'
import { DATATYPES, toJson, toTextBytes } from './tensors.ts'

/** Most values to write as text in a response: that happens on the event loop. */
const MAX_VALUES = 200_000

/** An output as JSON, and as the binary that follows the JSON. */
interface WrittenOutput {
  json: string
  binary?: Buffer
}

/**
 * @param outputs as requested, one per result
 * @throws RequestError 413 when too many values would be written as text
 */
export function sendOutputs(
  res: Response,
  model: Model,
  id: string | undefined,
  outputs: readonly RequestedOutput[],
  results: readonly Tensor[],
): void {
  checkValues(outputs, results)
  const written = results.map((result, i) => writeOutput(outputs[i], result, model))
  const names = JSON.stringify({ model_name: model.name, model_version: model.version, id })
  // written by hand: JSON.stringify does not take 64-bit integers
  const json = `${names.slice(0, -1)},"outputs":[${written.map((output) => output.json)}]}`
  const binary = written.flatMap((output) => output.binary ?? [])
  if (binary.length === 0) return void res.type('json').send(json)
  const header = Buffer.from(json)
  res.set(JSON_LENGTH_HEADER, String(header.length)).type('application/octet-stream')
  res.send(Buffer.concat([header, ...binary]))
}

function checkValues(outputs: readonly RequestedOutput[], results: readonly Tensor[]): void {
  let values = 0
  for (const [i, { dims }] of results.entries()) {
    const { classes, isBinary } = outputs[i]
    const [samples, ...rest] = dims
    const length = classes ? Math.min(classes, sizeOf(rest)) : sizeOf(rest)
    if (classes) checkResultSize(samples, sizeOf(rest), classes)
    if (classes || !isBinary) values += samples * length
  }
  if (values <= MAX_VALUES) return
  throw new RequestError(
    413,
    `the response has ${values} values as text; the limit is ${MAX_VALUES}: ask for binary_data, or send fewer samples`,
  )
}

function writeOutput(
  { spec, isBinary, classes }: RequestedOutput,
  result: Tensor,
  model: Model,
): WrittenOutput {
  const isText = classes !== undefined
  const { labels: names, isBinary: isOneScore } = model.outputSpec
  const labels = spec.name === model.outputs[0].name && !isOneScore ? names : []
  const texts = isText ? classify(result, classes, labels) : []
  const dims = isText ? [result.dims[0], texts.length / result.dims[0]] : result.dims
  const datatype = isText ? 'BYTES' : DATATYPES[result.dtype]
  const head = `"name":${JSON.stringify(spec.name)},"datatype":"${datatype}","shape":[${dims}]`
  if (!isBinary) return { json: `{${head},"data":${isText ? JSON.stringify(texts) : toJson(result)}}` }
  const binary = isText ? toTextBytes(texts) : toBytes(result.data)
  return { json: `{${head},"parameters":{"binary_data_size":${binary.length}}}`, binary }
}

/**
 * The classification extension: `value:index`, or `value:index:label` where the class has a name.
 *
 * @param tensor [n, classes]
 * @returns [n, k] row-major, best first; k is clipped to the number of classes
 */
function classify(tensor: Tensor, k: number, labels: readonly string[]): string[] {
  const numbers = toNumbers(tensor)
  const [samples, ...rest] = tensor.dims
  const classes = sizeOf(rest)
  return Array.from({ length: samples }, (_, row) => {
    const scores = Array.from(numbers.slice(row * classes, (row + 1) * classes))
    return topKClasses(scores, k).map((index) => {
      const label = labels[index] ?? String(index)
      return `${scores[index]}:${index}${label === String(index) ? '' : `:${label}`}`
    })
  }).flat()
}
