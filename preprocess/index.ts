/**
 * Turns image bytes into model input, bit for bit as Python's pipelines do: the package's entry `onnxpress/preprocess`.
 *
 *     const recipe = loadRecipe('my_model')
 *     const { data, dims } = await preprocess(await readFile('photo.jpg'), recipe, { maxPixels: 50e6 })
 */
export { type JsonFile, readJsonFile, readPreprocessorFile } from './config/json_file.ts'
export { invalidKey } from './config/keys.ts'
export { KNOWN_KEYS, noteUnknownKeys } from './config/known_keys.ts'
export { nearest } from './config/nearest.ts'
export { type InputSpec, loadRecipe, type RecipeOptions, readRecipe } from './config/read_recipe.ts'
export { readUltralytics } from './config/ultralytics.ts'
export { FORMATS, imageFormat, otherFormat } from './decode/format.ts'
export { loadSharp } from './decode/general.ts'
export { release } from './decode/release.ts'
export { encodePng } from './encode_png.ts'
export { ConfigError, ImageError, type ImageErrorCode } from './errors.ts'
export { type Limits, openFast, openImage } from './open_image.ts'
export type { Pixels } from './pixels.ts'
export { preprocess, preview } from './preprocess.ts'
export { describeRecipe, fixedSize, type Recipe, sampleDims } from './recipe.ts'
export { FILTERS } from './resample/filters.ts'
export { type ImageTensor, toTensor } from './tensor.ts'
