/** The files of a model folder as Optimum, transformers and timm write them. */
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { basename, join, resolve } from 'node:path'
import {
  type JsonFile,
  KNOWN_KEYS,
  noteUnknownKeys,
  readJsonFile,
  readPreprocessorFile,
  readUltralytics,
} from '../../preprocess/index.ts'
import { StartError } from '../inference/errors.ts'
import { listSamples } from './samples.ts'

/** Optional files of the folder that are served or compared with. */
export interface Extras {
  /** path of an example image */
  samplePath: string | undefined
  /** paths of more of them */
  samplePaths: readonly string[]
  /** path of check.json: tensors and scores that Python's onnxpress.save wrote */
  checkPath: string | undefined
}

export interface ModelFolder {
  /** the folder's own name; the model's, if it is from the Hub */
  name: string
  /** `hf://owner/model@commit`, for a folder in the cache of the Hugging Face Hub */
  source: string | undefined
  modelPath: string
  extras: Extras
  /** config.json; an empty object when there is none */
  config: JsonFile
  /** preprocessor_config.json, or the same within processor_config.json, if there is one */
  preprocessor: JsonFile | undefined
  /** class names in the ONNX file's metadata, by their numbers */
  labels?: Record<string, string>
}

/** Optimum writes the graph beside the configuration, exports on the Hugging Face Hub keep it in onnx/. */
const GRAPHS = ['model.onnx', 'onnx/model.onnx']
/** Keys of config.json that have an effect. */
const SERVED =
  'id2label labels label_names problem_type function_to_apply threshold output version num_channels pretrained_cfg'.split(
    ' ',
  )
export const SAMPLES = ['sample.png', 'sample.jpg', 'sample.jpeg', 'sample.webp']

/** snapshots of the cache that Python's huggingface_hub and lib/hub share */
const SNAPSHOT =
  /[/\\]models--(?<owner>[\w.-]+?)--(?<name>[\w.-]+)[/\\]snapshots[/\\](?<commit>[0-9a-f]{40})$/

/**
 * @param graph its path in the folder; '' for the default ones
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
  const graphs = listGraphs(folder)
  const name = chooseGraph(graph, graphs, (path) => existsSync(join(folder, path)))
  if (!name) throw noGraph(dir, graph, graphs)
  if (!graph && !GRAPHS.includes(name)) note(`there is no model.onnx: ${name} is served`)
  const modelPath = join(folder, name)
  checkContent(modelPath)
  const { owner, name: model = basename(folder), commit } = SNAPSHOT.exec(folder)?.groups ?? {}
  const configPath = join(folder, 'config.json')
  const config = readJsonFile(configPath) ?? { path: configPath, json: {} }
  noteConfigKeys(config, note)
  return {
    name: model,
    source: commit && `hf://${owner}/${model}@${commit}`,
    modelPath,
    config,
    preprocessor: readPreprocessorFile(folder, note),
    extras: {
      samplePath: find(SAMPLES),
      samplePaths: listSamples(folder, note),
      checkPath: find(['check.json']),
    },
  }
}

/**
 * The graph of a folder or a repository: the wanted one, else the usual one, else the only one.
 *
 * @param wanted its path; '' for any
 * @param graphs paths of those that may be the only one
 * @returns its path; undefined if it is missing, or there are several
 */
export function chooseGraph(
  wanted: string,
  graphs: readonly string[],
  exists: (path: string) => boolean,
): string | undefined {
  const name = (wanted ? [wanted] : GRAPHS).find(exists)
  return name ?? (!wanted && graphs.length === 1 ? graphs[0] : undefined)
}

/** Whether a path in a model folder is a graph, in one of the places that are searched. */
export function isGraph(path: string): boolean {
  return /^(onnx\/)?[^/]+\.onnx$/.test(path)
}

/** The .onnx files of a folder and of its onnx/, relative to it. */
function listGraphs(folder: string): string[] {
  const list = (at: string) => {
    const path = join(folder, at)
    return existsSync(path) ? readdirSync(path).map((name) => at + name) : []
  }
  return [...list(''), ...list('onnx/')].filter(isGraph)
}

function noGraph(dir: string, wanted: string, graphs: string[]): StartError {
  const names = graphs.slice(0, 10).join(', ')
  const hint = names ? `choose one with MODEL_FILE or --file: ${names}` : 'and no other .onnx file'
  return new StartError(`MODEL_DIR=${dir}: there is no ${wanted || 'model.onnx'} in ${resolve(dir)}, ${hint}`)
}

/** @throws StartError for a file that was not downloaded: ONNX Runtime would call it unparsable */
function checkContent(path: string): void {
  const { size } = statSync(path)
  if (size === 0) throw new StartError(`${path} is empty: export or download it again`)
  if (size > 1000) return
  if (readFileSync(path, 'latin1').startsWith('version https://git-lfs'))
    throw new StartError(`${path} is a Git LFS pointer, not the model: run git lfs pull in its repository`)
}

/** Add the ONNX file's metadata; the folder's own files take precedence. */
export function addMetadata(folder: ModelFolder, metadata: Record<string, string>): ModelFolder {
  const { preprocessor, names } = readUltralytics(folder.modelPath, metadata) ?? {}
  return { ...folder, preprocessor: folder.preprocessor ?? preprocessor, labels: names }
}

/** Note the unknown keys of config.json. Before version 0.6, timm wrote its `pretrained_cfg` as config.json. */
function noteConfigKeys(config: JsonFile, note: (message: string) => void): void {
  const isTimm = Array.isArray(config.json.input_size)
  noteUnknownKeys(config, SERVED, [...KNOWN_KEYS.config, ...(isTimm ? KNOWN_KEYS.pretrained_cfg : [])], note)
}
