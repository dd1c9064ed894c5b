/** A graph's interface: one input, an image, features or a number, with the batch axis first, and an output of scores. */
import { invalidKey, type JsonFile } from '../../preprocess/index.ts'
import { StartError } from '../inference/errors.ts'
import type { GraphInfo } from '../inference/session.ts'
import { DTYPES, isDtype, sizeOf, type Tensor, type TensorSpec } from '../inference/tensor.ts'

/** The interface of a graph that can be served. */
export interface Graph {
  /** an image [n, c, h, w] or [n, h, w, c], features [n, f] or a number [n] */
  input: TensorSpec
  /** the numeric outputs */
  outputs: TensorSpec[]
  /** the size of the batch axis; undefined when it is free */
  fixedBatch: number | undefined
}

/** An output as the graph declares it, and its values in the first run. */
export interface FirstOutput {
  spec: TensorSpec
  /** for zeros, [n, ...] */
  values: Tensor
  /** for noise, [n, ...]; undefined if the graph fails on it */
  runNoise: () => Promise<Tensor | undefined>
}

/** @throws StartError for a graph that is not a classifier of one input */
export function checkGraph({ inputs, outputs }: Pick<GraphInfo, 'inputs' | 'outputs'>): Graph {
  if (inputs.length !== 1) {
    const names = inputs.map(({ name }) => name).join(', ')
    throw new StartError(
      `the model has ${inputs.length} inputs (${names}), expected one: an image, features or a number`,
    )
  }
  const [input] = inputs
  if (!isDtype(input.dtype)) throw unknownDtype('input', input)
  if (![1, 2, 4].includes(input.dims.length)) {
    throw new StartError(
      `the model's input ${input.name} is ${shapeText(input)}, of rank ${input.dims.length}: ` +
        'expected an image [n,c,h,w] or [n,h,w,c], features [n,f] or a number [n]',
    )
  }
  const [batch] = input.dims
  if (batch === 0) {
    throw new StartError(
      `the model's input ${input.name} is ${shapeText(input)}, expected a batch axis first: 1 or more, or a name`,
    )
  }
  return {
    input,
    outputs: numericOutputs(outputs),
    fixedBatch: typeof batch === 'number' ? batch : undefined,
  }
}

function numericOutputs(outputs: TensorSpec[]): TensorSpec[] {
  const map = outputs.find(({ dtype }) => (dtype as string) === 'not a tensor')
  if (map) {
    throw new StartError(
      `the model's output ${map.name} is a list of dictionaries (ZipMap), expected a tensor: convert the model ` +
        'without it, with options={"zipmap": False} (skl2onnx) or zipmap=False (onnxmltools)',
    )
  }
  const numeric = outputs.filter(({ dtype }) => isDtype(dtype))
  if (numeric.length > 0) return numeric
  throw unknownDtype('output', outputs[0])
}

function unknownDtype(what: string, { name, dtype }: TensorSpec): StartError {
  return new StartError(`the model's ${what} ${name} has the dtype ${dtype}, expected ${DTYPES.join(', ')}`)
}

/** scikit-learn's and XGBoost's converters write the class and its probabilities. */
export function isProbabilities({ name }: TensorSpec): boolean {
  return /probabilit/.test(name)
}

/**
 * The output that config.json names, else the probabilities beside a label, the logits, the one with as many classes as
 * there are labels, or the first.
 *
 * @param outputs at least one
 * @param labels their number; undefined if there are none
 * @throws ConfigError when `output` names none
 */
export function chooseScores(
  outputs: readonly FirstOutput[],
  config: JsonFile,
  labels: number | undefined,
  note: (message: string) => void,
): FirstOutput {
  const names = outputs.map(({ spec }) => spec.name)
  const { output: wanted } = config.json
  const byName = (name: unknown) => outputs.find(({ spec }) => spec.name === name)
  if (wanted !== undefined) {
    const named = byName(wanted)
    if (named) return named
    throw invalidKey(config, 'output', wanted, names.join(', '))
  }
  if (outputs.length === 1) return outputs[0]
  const fitting = outputs.filter(
    ({ values: { dims } }) => dims.length > 1 && sizeOf(dims.slice(1)) === labels,
  )
  const known =
    byName('logits') ??
    outputs.find(({ spec }) => isProbabilities(spec)) ??
    (fitting.length === 1 ? fitting[0] : undefined)
  if (known) return known
  note(
    `the model has several outputs (${names.join(', ')}): ${names[0]} is used as the scores; ` +
      `set "output" in ${config.path} if it is another`,
  )
  return outputs[0]
}

/** Such as `[batch,3,?,?]`. */
export function shapeText({ dims }: TensorSpec): string {
  return `[${dims.map((dim) => (dim === '' ? '?' : dim))}]`
}
