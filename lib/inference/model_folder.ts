/** The files of a model folder as Optimum, transformers and timm write them. */
import { existsSync, readFileSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import { messageOf, StartError } from './errors.ts'

export type Json = Record<string, unknown>

/** A JSON file's object, and the path that errors name it by. */
export interface JsonFile {
  path: string
  json: Json
}

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
  return {
    name: basename(folder),
    modelPath,
    config: (await readJson(configPath)) ?? { path: configPath, json: {} },
    preprocessor: await readJson(join(folder, 'preprocessor_config.json')),
    samplePath: find(SAMPLES),
  }
}

async function readJson(path: string): Promise<JsonFile | undefined> {
  if (!existsSync(path)) return undefined
  const text = readText(path)
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch {
    throw await syntaxError(path, text)
  }
  if (json === null || typeof json !== 'object' || Array.isArray(json)) {
    throw new StartError(`${path}: expected a JSON object`)
  }
  // null counts as absent, as in transformers
  return { path, json: Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null)) }
}

/** What is wrong and in which line, which JSON.parse does not tell; the parser that does is loaded only for this. */
async function syntaxError(path: string, text: string): Promise<StartError> {
  const { parse, printParseErrorCode } = await import('jsonc-parser')
  const errors: import('jsonc-parser').ParseError[] = []
  parse(text, errors, { disallowComments: true })
  const { error, offset } = errors[0]
  const what = printParseErrorCode(error).replace(/\B[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
  return new StartError(`${path}, line ${text.slice(0, offset).split('\n').length}: not valid JSON: ${what}`)
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8').replace(/^\ufeff/, '')
  } catch (error) {
    throw new StartError(`${path} cannot be read: ${messageOf(error)}`)
  }
}

/** The one line about a key that is not as it must be. */
export function wrongKey(file: JsonFile, key: string, came: unknown, expected: string): StartError {
  return new StartError(`${file.path}: ${key} is ${shorten(came)}, expected ${expected}`)
}

function shorten(value: unknown): string {
  try {
    const text = JSON.stringify(value) ?? 'missing'
    return text.length > 100 ? `${text.slice(0, 100)}...` : text
  } catch {
    return 'nested too deep'
  }
}
