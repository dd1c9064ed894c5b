/** The files of a model folder as Optimum, transformers and timm write them. */
import { existsSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { type JsonFile, readJsonFile, readPreprocessorFile } from '../../preprocess/index.ts'
import { StartError } from '../inference/errors.ts'

export interface ModelFolder {
  /** the folder's own name; that of the model, for one of the Hub's */
  name: string
  /** `hf://owner/model@commit`, for a folder in the cache of the Hugging Face Hub */
  source: string | undefined
  modelPath: string
  /** config.json; an empty object when there is none */
  config: JsonFile
  /** preprocessor_config.json, or the same within processor_config.json, if there is one */
  preprocessor: JsonFile | undefined
  /** an example image, if there is one */
  samplePath: string | undefined
  /** tensors and scores to compare with, if Python's onnxpress.save wrote them */
  checkPath: string | undefined
}

/** Optimum writes the graph beside the configuration, exports on the Hugging Face Hub keep it in onnx/. */
const MODELS = ['model.onnx', 'onnx/model.onnx']
const SAMPLES = ['sample.png', 'sample.jpg', 'sample.jpeg', 'sample.webp']

/** snapshots of the cache that Python's huggingface_hub and lib/hub share */
const SNAPSHOT =
  /[/\\]models--(?<owner>[\w.-]+?)--(?<name>[\w.-]+)[/\\]snapshots[/\\](?<commit>[0-9a-f]{40})$/

/**
 * @param graph its path in the folder; '' for the usual ones
 * @param note called with each assumption
 * @throws StartError when the folder or its model is missing
 * @throws ConfigError when a file is not valid JSON
 */
export function readModelFolder(dir: string, graph: string, note: (message: string) => void): ModelFolder {
  const folder = resolve(dir)
  if (!existsSync(folder)) throw new StartError(`MODEL_DIR=${dir}: there is no folder ${folder}`)
  if (!statSync(folder).isDirectory()) {
    throw new StartError(`MODEL_DIR=${dir}: ${folder} is a file: name the folder that holds model.onnx`)
  }
  const find = (names: string[]) => names.map((name) => join(folder, name)).find((path) => existsSync(path))
  const modelPath = find(graph ? [graph] : MODELS)
  if (!modelPath) throw new StartError(`MODEL_DIR=${dir}: there is no ${graph || 'model.onnx'} in ${folder}`)
  const { owner, name = basename(folder), commit } = SNAPSHOT.exec(folder)?.groups ?? {}
  const configPath = join(folder, 'config.json')
  return {
    name,
    source: commit && `hf://${owner}/${name}@${commit}`,
    modelPath,
    config: readJsonFile(configPath) ?? { path: configPath, json: {} },
    preprocessor: readPreprocessorFile(folder, note),
    samplePath: find(SAMPLES),
    checkPath: find(['check.json']),
  }
}
