/** The files of a repository that serving needs: the graph, the weights beside it, and the JSON files. */
import { StartError } from '../inference/errors.ts'

/** Where exporters put the graph: Optimum at the top, most repositories on the Hub in onnx/. */
const GRAPHS = ['model.onnx', 'onnx/model.onnx']
const OTHERS = [
  'config.json',
  'preprocessor_config.json',
  'processor_config.json',
  'check.json',
  'sample.png',
  'sample.jpg',
  'sample.jpeg',
  'sample.webp',
]
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
  const name = namesOf(graph).find((wanted) => files.some(({ path }) => path === wanted))
  if (!name) return []
  const isWeights = (path: string) => path.startsWith(name) && WEIGHTS.test(path.slice(name.length))
  return files
    .filter(({ path }) => path === name || isWeights(path) || OTHERS.includes(path))
    .sort((a, b) => a.size - b.size)
}

function namesOf(graph: string): string[] {
  return graph ? [graph] : GRAPHS
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
