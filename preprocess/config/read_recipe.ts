/** How images become a model's input: what its folder says, held against what its graph says. */
import { StartError } from '../../lib/inference/errors.ts'
import type { ModelFolder } from '../../lib/inference/model_folder.ts'
import type { Dtype, TensorSpec } from '../../lib/inference/tensor.ts'
import { fixedSize, type Recipe } from '../recipe.ts'
import { findTimm, readTimm } from './timm.ts'
import { readPreprocessor } from './transformers.ts'

type Warn = (message: string) => void

const FLOATS: Dtype[] = ['float32', 'float16', 'float64']

/**
 * @param graph the model's input; without it (the client has no graph) only the folder counts
 * @param warn told what was assumed
 * @returns undefined for a model that takes no images
 * @throws StartError where file and graph contradict each other, or a key is wrong
 */
export function readRecipe(folder: ModelFolder, warn: Warn, graph?: TensorSpec): Recipe | undefined {
  const timm = findTimm(folder)
  const file = timm ?? folder.preprocessor
  if (graph && !isImage(graph)) {
    if (!file) return undefined
    throw new StartError(
      `${file.path} is for images, but the model's input ${graph.name} is [${graph.dims}]: expected [n, 1 or 3, height, width]`,
    )
  }
  const channels = readChannels(folder, graph)
  const [height, width] = (graph?.dims.slice(2) ?? []).map((dim) =>
    typeof dim === 'number' ? dim : undefined,
  )
  let recipe: Recipe
  if (timm) recipe = readTimm(timm, channels, [height, width])
  else if (folder.preprocessor) recipe = readPreprocessor(folder.preprocessor, channels, warn)
  else {
    const size = { height: height ?? 224, width: width ?? 224 }
    warn(
      `there is no preprocessor_config.json: images are resized to ${size.width}x${size.height}, bilinear, -1 to 1`,
    )
    recipe = readPreprocessor({ path: 'default', json: { size } }, channels, warn)
  }
  if (graph) fitGraph(recipe, graph, warn, file?.path)
  return Object.freeze(recipe)
}

function isImage({ dims }: TensorSpec): boolean {
  return dims.length === 4 && (typeof dims[1] === 'string' || dims[1] === 1 || dims[1] === 3)
}

/** The graph's channel axis, `num_channels`, the mean's length, else 3; those that are there must agree. */
function readChannels(folder: ModelFolder, graph?: TensorSpec): 1 | 3 {
  const { config, preprocessor } = folder
  const timm = findTimm(folder)
  const mean = timm ? timm.json.mean : preprocessor?.json.image_mean
  const inputSize = timm?.json.input_size
  const sources: [string, unknown][] = [
    ["the graph's channel axis", typeof graph?.dims[1] === 'number' ? graph.dims[1] : undefined],
    [`num_channels in ${config.path}`, config.json.num_channels],
    [`input_size in ${timm?.path}`, Array.isArray(inputSize) ? inputSize[0] : undefined],
    // in timm's a list of one counts for all channels
    [
      `the mean in ${(timm ?? preprocessor)?.path}`,
      Array.isArray(mean) && !(timm && mean.length === 1) ? mean.length : undefined,
    ],
  ]
  const known = sources.filter(([, channels]) => channels !== undefined)
  const [source, channels] = known[0] ?? ['the default', 3]
  if (channels !== 1 && channels !== 3) {
    throw new StartError(`${source} says ${JSON.stringify(channels)} channels, expected 1 (grey) or 3 (RGB)`)
  }
  const other = known.find(([, value]) => value !== channels)
  if (other)
    throw new StartError(
      `${source} says ${channels} channels, but ${other[0]} says ${other[1]}: they must agree`,
    )
  return channels
}

/** Give the recipe the graph's dtype, and check that its images have the graph's size. */
function fitGraph(recipe: Recipe, graph: TensorSpec, warn: Warn, source = 'the default'): void {
  recipe.dtype = graph.dtype
  if (!FLOATS.includes(graph.dtype)) {
    // a graph that takes whole numbers scales and normalises by itself
    recipe.rescale = undefined
    recipe.normalize = []
  }
  const size = fixedSize(recipe)
  const [height, width] = graph.dims.slice(2)
  const graphSize = `the model's input ${graph.name} is ${width}x${height}`
  if (!size && typeof height === 'number' && typeof width === 'number') {
    warn(
      `${source} keeps the ratio of images, but ${graphSize}: images of another ratio will not fit; ` +
        'say do_center_crop and crop_size, or size with height and width',
    )
  }
  const differs = (made: number, wanted: number | string) => typeof wanted === 'number' && wanted !== made
  if (size && (differs(size.height, height) || differs(size.width, width))) {
    throw new StartError(
      `${source} makes images of ${size.width}x${size.height}, but ${graphSize}: they must agree`,
    )
  }
}
