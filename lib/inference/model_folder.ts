/** The files of a model folder as Optimum, transformers and timm write them. */
import { existsSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { ConfigError, invalidKey, type JsonFile, readJsonFile } from '../../preprocess/index.ts'
import { StartError } from './errors.ts'

export type { JsonFile }
export type Json = JsonFile['json']

export interface ModelFolder {
  /** the folder's own name */
  name: string
  modelPath: string
  /** config.json; an empty object where there is none */
  config: JsonFile
  /** preprocessor_config.json, if there is one */
  preprocessor: JsonFile | undefined
  /** an example image to try, if the folder has one */
  samplePath: string | undefined
}

/** Where exporters put the graph: Optimum beside the configuration, the hub's own exports in onnx/. */
const MODELS = ['model.onnx', 'onnx/model.onnx']
const SAMPLES = ['sample.png', 'sample.jpg', 'sample.jpeg', 'sample.webp']

/** @throws StartError when there is no such folder, no model in it, or a file that is no JSON */
export async function readModelFolder(dir: string): Promise<ModelFolder> {
  const folder = resolve(dir)
  if (!existsSync(folder)) throw new StartError(`MODEL_DIR=${dir}: there is no folder ${folder}`)
  if (!statSync(folder).isDirectory()) {
    throw new StartError(`MODEL_DIR=${dir}: ${folder} is a file: name the folder that holds model.onnx`)
  }
  const find = (names: string[]) => names.map((name) => join(folder, name)).find((path) => existsSync(path))
  const modelPath = find(MODELS)
  if (!modelPath) throw new StartError(`MODEL_DIR=${dir}: there is no model.onnx in ${folder}`)
  const configPath = join(folder, 'config.json')
  const readJson = (path: string) => orStartError(() => readJsonFile(path))
  return {
    name: basename(folder),
    modelPath,
    config: readJson(configPath) ?? { path: configPath, json: {} },
    preprocessor: readJson(join(folder, 'preprocessor_config.json')),
    samplePath: find(SAMPLES),
  }
}

/** Run `work`; a ConfigError of the preprocessing stops the start like any other. */
export function orStartError<Result>(work: () => Result): Result {
  try {
    return work()
  } catch (error) {
    throw error instanceof ConfigError ? new StartError(error.message) : error
  }
}

/** The one line about a key that is not as it must be. */
export function wrongKey(file: JsonFile, key: string, came: unknown, expected: string): StartError {
  return new StartError(invalidKey(file, key, came, expected).message)
}
