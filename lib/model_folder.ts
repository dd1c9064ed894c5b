/** The files of a model folder as Optimum writes it: model.onnx, config.json, preprocessor_config.json. */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { messageOf, StartError } from './errors.ts'

export type Json = Record<string, unknown>

export interface ModelFolder {
  /** the folder's own name */
  name: string
  modelPath: string
  /** {} where there is no config.json */
  config: Json
  configPath: string
  /** undefined where there is no preprocessor_config.json */
  preprocessor: Json | undefined
  preprocessorPath: string
  /** an example image to try, if the folder has one */
  samplePath: string | undefined
}

const SAMPLES = ['sample.png', 'sample.jpg', 'sample.jpeg', 'sample.webp']

/** @throws StartError when there is no such folder, no model in it, or a file that is no JSON */
export function readModelFolder(dir: string): ModelFolder {
  const folder = resolve(dir)
  if (!existsSync(folder)) throw new StartError(`MODEL_DIR=${dir}: there is no folder ${folder}`)
  if (!statSync(folder).isDirectory()) {
    throw new StartError(`MODEL_DIR=${dir}: ${folder} is a file: name the folder that holds model.onnx`)
  }
  const modelPath = join(folder, 'model.onnx')
  if (!existsSync(modelPath)) throw new StartError(`MODEL_DIR=${dir}: there is no model.onnx in ${folder}`)
  const configPath = join(folder, 'config.json')
  const preprocessorPath = join(folder, 'preprocessor_config.json')
  return {
    name: basename(folder),
    modelPath,
    config: readJson(configPath) ?? {},
    configPath,
    preprocessor: readJson(preprocessorPath),
    preprocessorPath,
    samplePath: SAMPLES.map((name) => join(folder, name)).find((path) => existsSync(path)),
  }
}

function readJson(path: string): Json | undefined {
  if (!existsSync(path)) return undefined
  let json: unknown
  try {
    json = JSON.parse(readFileSync(path, 'utf8'))
  } catch (error) {
    throw new StartError(`${path} is not valid JSON: ${messageOf(error)}`)
  }
  if (json === null || typeof json !== 'object' || Array.isArray(json)) {
    throw new StartError(`${path}: expected a JSON object`)
  }
  return json as Json
}
