/** What a model's output means: which function makes scores of it, and what the classes are called. */
import { StartError } from './errors.ts'

/** transformers' `function_to_apply` */
export const FUNCTIONS = ['softmax', 'sigmoid', 'none'] as const
export type ScoreFunction = (typeof FUNCTIONS)[number]

export interface Answer {
  kind: 'single-label' | 'multi-label' | 'regression'
  scoreFunction: ScoreFunction
  /** one per class, in the order of the output; regression: one per number */
  labels: readonly string[]
  /** multi-label: classes with a score above it are answered */
  threshold: number
}

const KINDS: Record<string, Pick<Answer, 'kind' | 'scoreFunction'>> = {
  single_label_classification: { kind: 'single-label', scoreFunction: 'softmax' },
  multi_label_classification: { kind: 'multi-label', scoreFunction: 'sigmoid' },
  regression: { kind: 'regression', scoreFunction: 'none' },
}

/**
 * @param config the object in config.json
 * @param classes last dimension of the output
 * @param file how errors call it
 * @throws StartError naming the key, what was expected and what came
 */
export function readAnswer(config: Record<string, unknown>, classes: number, file: string): Answer {
  const problem = config.problem_type ?? 'single_label_classification'
  const rule = typeof problem === 'string' && Object.hasOwn(KINDS, problem) ? KINDS[problem] : undefined
  if (!rule) {
    throw new StartError(
      `${file}: problem_type is ${JSON.stringify(problem)}, expected ${Object.keys(KINDS).join(', ')}`,
    )
  }
  const named = config.function_to_apply ?? rule.scoreFunction
  const scoreFunction = FUNCTIONS.find((name) => name === named)
  if (!scoreFunction) {
    throw new StartError(
      `${file}: function_to_apply is ${JSON.stringify(named)}, expected ${FUNCTIONS.join(', ')}`,
    )
  }
  const threshold = config.threshold ?? 0.5
  if (typeof threshold !== 'number' || !(threshold >= 0 && threshold <= 1)) {
    throw new StartError(`${file}: threshold is ${JSON.stringify(threshold)}, expected a number from 0 to 1`)
  }
  return { kind: rule.kind, scoreFunction, labels: readLabels(config.id2label, classes, file), threshold }
}

/** Labels in class order from `{"0": "cat", ...}`; without it, the class numbers. */
function readLabels(id2label: unknown, classes: number, file: string): string[] {
  const numbers = Array.from({ length: classes }, (_, index) => String(index))
  if (id2label === undefined || id2label === null) return numbers
  const names = new Map(Object.entries(id2label as object))
  if (names.size !== classes) {
    throw new StartError(
      `${file}: id2label has ${names.size} labels, but the model's output has ${classes} classes`,
    )
  }
  return numbers.map((number) => {
    const name = names.get(number)
    if (typeof name !== 'string') throw new StartError(`${file}: id2label has no label for class ${number}`)
    return name
  })
}
