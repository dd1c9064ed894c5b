/** Which of several outputs has the scores. */
import { invalidKey, type JsonFile } from '../../preprocess/index.ts'
import { sizeOf, type Tensor, type TensorSpec } from '../inference/tensor.ts'

/** An output as the graph declares it, and its values in the first run. */
export interface FirstOutput {
  spec: TensorSpec
  /** [n, ...] */
  values: Tensor
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
    `the model has several outputs (${names.join(', ')}): ${names[0]} is taken for the scores; ` +
      `say "output" in ${config.path} if it is another`,
  )
  return outputs[0]
}
