/** The files of a repository that serving needs: the graph, the weights beside it, and the JSON files. */
import { StartError } from '../inference/errors.ts'
import { GRAPHS, isGraph, SAMPLES } from '../model/model_folder.ts'

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
  const name = chooseGraph(
    files.map(({ path }) => path),
    graph,
  )
  if (!name) return []
  const isWeights = (path: string) => path.startsWith(name) && WEIGHTS.test(path.slice(name.length))
  return files
    .filter(({ path }) => path === name || isWeights(path) || OTHERS.includes(path))
    .sort((a, b) => a.size - b.size)
}

function namesOf(graph: string): string[] {
  return graph ? [graph] : GRAPHS
}

/** The wanted graph, else the usual one, else the only one, as in a folder. */
function chooseGraph(paths: readonly string[], wanted: string): string | undefined {
  const name = namesOf(wanted).find((each) => paths.includes(each))
  if (name || wanted) return name
  const graphs = paths.filter(isGraph)
  return graphs.length === 1 ? graphs[0] : undefined
}

/** The error for a repository without the graph. */
export function missingGraph(files: readonly { path: string }[], repo: string, graph: string): StartError {
  const graphs = files.map(({ path }) => path).filter((path) => path.endsWith('.onnx'))
  if (graphs.length > 0) {
    return new StartError(
      `${repo} has no ${namesOf(graph).join(' and no ')}: choose one with --file: ${graphs.sort().join(', ')}`,
    )
  }
  return new StartError(
    `${repo} has no ONNX files: make them with ` +
      `\`optimum-cli export onnx --model ${repo} --task image-classification my_model\`, and serve my_model`,
  )
}
