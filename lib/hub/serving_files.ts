/** The files of a repository that serving needs: the graph, the weights beside it, and the JSON files. */
import { StartError } from '../inference/errors.ts'
import { chooseGraph, isGraph, SAMPLES } from '../model/model_folder.ts'

const OTHERS = ['config.json', 'preprocessor_config.json', 'processor_config.json', 'check.json', ...SAMPLES]
/** At the end of the graph's own name: `model.onnx_data`, `model.onnx_data_1`, `model.onnx.data`. */
const WEIGHTS = /^[._]data\w*$/

/**
 * @param files of the repository
 * @param graph MODEL_FILE; '' for the usual ones
 * @returns the chosen ones, the large ones last; none if there is no graph
 */
export function servingFiles<File extends { path: string; size: number }>(
  files: readonly File[],
  graph: string,
): File[] {
  const paths = files.map(({ path }) => path)
  const name = chooseGraph(graph, paths.filter(isGraph), (path) => paths.includes(path))
  if (!name) return []
  const isWeights = (path: string) => path.startsWith(name) && WEIGHTS.test(path.slice(name.length))
  return files
    .filter(({ path }) => path === name || isWeights(path) || OTHERS.includes(path))
    .sort((a, b) => a.size - b.size)
}

/** The error for a repository without the graph. */
export function missingGraph(files: readonly { path: string }[], repo: string, graph: string): StartError {
  const graphs = files.map(({ path }) => path).filter((path) => path.endsWith('.onnx'))
  if (graphs.length > 0) {
    return new StartError(
      `${repo} has no ${graph || 'model.onnx and no onnx/model.onnx'}: choose one with --file: ${graphs.sort().join(', ')}`,
    )
  }
  return new StartError(
    `${repo} has no ONNX files: make them with ` +
      `\`optimum-cli export onnx --model ${repo} --task image-classification my_model\`, and serve my_model`,
  )
}
