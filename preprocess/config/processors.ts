/** The image processor classes of transformers 5 that are served, and their defaults. */
import { readFileSync } from 'node:fs'
import { ConfigError } from '../errors.ts'
import type { Size } from '../pixels.ts'
import type { Json, JsonFile } from './json_file.ts'
import { invalidKey } from './keys.ts'

/** Written by test/fixtures/make_known_keys.py, which reads the classes themselves. */
const { defaults, modelTypes }: { defaults: Record<string, Json>; modelTypes: Record<string, string> } =
  JSON.parse(readFileSync(new URL('processors.json', import.meta.url), 'utf8'))

export interface Processor {
  /** without `ImageProcessor`, such as `ViT`; undefined for a file that names none */
  name: string | undefined
  /** of the keys that the file lacks */
  defaults: Json
}

/**
 * The class that a file or config.json names, or that transformers chooses for the model type. `ViTImageProcessor`,
 * `ViTImageProcessorFast`, `ViTImageProcessorPil` and the older `ViTFeatureExtractor` are one. A file that names no class,
 * such as one written by hand, is read as a ViT's.
 *
 * @param size the default for such a file
 * @throws ConfigError for a class that is not served
 */
export function findProcessor(file: JsonFile, config: JsonFile | undefined, size: Size): Processor {
  const type =
    file.json.image_processor_type ?? config?.json.image_processor_type ?? file.json.feature_extractor_type
  if (type === undefined) {
    const modelType = config?.json.model_type as string
    if (Object.hasOwn(modelTypes, modelType)) return processorOf(file, modelTypes[modelType])
    return { name: undefined, defaults: { ...defaults.ViT, crop_size: 224, size } }
  }
  if (typeof type !== 'string') throw invalidKey(file, 'image_processor_type', type, "a class's name")
  return processorOf(file, type.replace(/(ImageProcessor|FeatureExtractor)(Fast|Pil)?$/, ''))
}

function processorOf(file: JsonFile, name: string): Processor {
  if (Object.hasOwn(defaults, name)) return { name, defaults: defaults[name] }
  throw new ConfigError(
    `${file.path}: the image processor ${name} is not supported: set image_processor_type to an equivalent one, ` +
      `or to ViTImageProcessor and every key: ${Object.keys(defaults).join(', ')}`,
  )
}
