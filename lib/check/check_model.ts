/** Compares a loaded model with its folder's check.json: the command `--check`, and once in the background of a server. */
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { readJsonFile } from '../../preprocess/index.ts'
import { StartError } from '../inference/errors.ts'
import { Signal } from '../inference/signal.ts'
import type { Model } from '../model/model_info.ts'
import { availableMemory } from '../workers/available_memory.ts'
import { ImageWorkers } from '../workers/image_workers.ts'
import { findCause, findScoreFunction } from './causes.ts'
import { type CheckCase, readCheckFile } from './check_file.ts'
import { type CaseResult, type CheckedModel, compareCase } from './compare.ts'
import type { Cause } from './numbers.ts'

/** Pause before the background check, in milliseconds, and again whenever the server is busy. */
const IDLE_MS = 2000

export interface CheckSummary {
  cases: number
  /** names of those that differ */
  differing: string[]
}

/** Run a function with the model as the check uses it: with a thread of its own, outside the server's queue and metrics. */
async function withThread<T>(
  model: Model,
  maxPixels: number,
  work: (checked: CheckedModel) => Promise<T>,
): Promise<T> {
  const workers = new ImageWorkers(1, maxPixels, availableMemory())
  const { input, recipe, outputSpec } = model
  try {
    return await work({
      input,
      recipe,
      outputSpec,
      // copied, since the thread takes the memory
      preprocess: (image, varied, dtype) =>
        workers.preprocess(Uint8Array.from(image), { recipe: varied, dtype }, new Signal()),
      predict: model.predictUnmetered,
    })
  } finally {
    await workers.close()
  }
}

/**
 * Compare all cases, and look for the cause of differences.
 *
 * @param print called with each line of the report
 * @returns whether everything is equal
 * @throws StartError if there is no check.json
 */
export async function checkModel(
  model: Model,
  maxPixels: number,
  print: (line: string) => void,
): Promise<boolean> {
  const { checkPath } = model
  if (!checkPath) {
    throw new StartError(
      `${model.name} has no check.json to compare with: onnxpress.save in Python writes one`,
    )
  }
  const cases = readCheckFile(checkPath)
  return withThread(model, maxPixels, async (checked) => {
    const results: CaseResult[] = []
    for (const one of cases) results.push(await compareCase(one, checked))
    printTable(results, print)
    const differing = results.filter(({ isEqual }) => !isEqual)
    if (differing.length === 0) {
      print(`check.json: all ${results.length} cases are equal`)
      return true
    }
    print(`check.json: ${differing.length} of ${results.length} cases differ`)
    print(await explain(cases, results, checked, dirname(checkPath)))
    return false
  })
}

function printTable(results: CaseResult[], print: (line: string) => void): void {
  const rows = [['case', 'tensor', 'scores']]
  for (const { name, tensor = '-', scores } of results) rows.push([name, tensor, scores])
  const widths = [0, 1].map((column) => Math.max(...rows.map((row) => row[column].length)) + 2)
  for (const [name, tensor, scores] of rows)
    print(`${name.padEnd(widths[0])}${tensor.padEnd(widths[1])}${scores}`)
}

async function explain(
  cases: CheckCase[],
  results: CaseResult[],
  model: CheckedModel,
  folder: string,
): Promise<string> {
  if (results.some(({ isTensorEqual }) => !isTensorEqual)) {
    const hasTimm = (name: string) =>
      typeof readJsonFile(join(folder, name))?.json.pretrained_cfg === 'object'
    const timmFile = ['preprocessor_config.json', 'config.json'].find(hasTimm)
    const cause = await findCause(cases, model, timmFile !== undefined)
    if (cause) return causeText(cause, timmFile ?? 'preprocessor_config.json')
    return 'cause: not found among the usual ones: compare the steps of --describe with your transform'
  }
  const cause = findScoreFunction(cases, results, model.outputSpec)
  if (cause) return causeText(cause, 'config.json')
  return 'cause: the tensors are equal, so it is the graph: another export, another file (MODEL_FILE), or another device'
}

/** Fixes that are keys begin with a quotation mark. */
function causeText({ made, fix }: Cause, file: string): string {
  return `cause: in Python, ${made}: ${fix.startsWith('"') ? `set ${fix} in ${file}` : fix}`
}

/**
 * Compare all cases of a model with check.json, once the server is idle.
 *
 * @param isBusy whether requests wait
 * @throws ConfigError, or when the model is closed meanwhile
 */
export async function checkInBackground(
  model: Model,
  maxPixels: number,
  isBusy: () => boolean,
): Promise<CheckSummary> {
  const untilIdle = async () => {
    do await sleep(IDLE_MS, undefined, { ref: false })
    while (isBusy())
  }
  await untilIdle()
  const cases = readCheckFile(model.checkPath!)
  return withThread(model, maxPixels, async (checked) => {
    const differing: string[] = []
    for (const one of cases) {
      if (isBusy()) await untilIdle()
      const { name, isEqual } = await compareCase(one, checked)
      if (!isEqual) differing.push(name)
    }
    return { cases: cases.length, differing }
  })
}
