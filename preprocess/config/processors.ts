/** The image processor classes of transformers 5: their defaults for keys that preprocessor_config.json lacks. */
import type { Json, JsonFile } from './json_file.ts'
import { invalidKey } from './keys.ts'

export interface Processor {
  defaults: Json
  /** a number as `size` is the shortest edge, not a square */
  isEdge?: boolean
  /** how the class departs from resize, crop, rescale, normalize */
  quirk?: 'convnext' | 'levit' | 'mobilevit' | 'efficientnet'
}

const CLIP = {
  image_mean: [0.48145466, 0.4578275, 0.40821073],
  image_std: [0.26862954, 0.26130258, 0.27577711],
}
const IMAGENET = { image_mean: [0.485, 0.456, 0.406], image_std: [0.229, 0.224, 0.225] }
const HALF = { image_mean: 0.5, image_std: 0.5 }
const EDGE_AND_CROP = { size: { shortest_edge: 224 }, do_center_crop: true, crop_size: 224 }
const MOBILENET: Processor = {
  defaults: { ...EDGE_AND_CROP, size: { shortest_edge: 256 }, resample: 2, ...HALF },
  isEdge: true,
}

const PROCESSORS: Record<string, Processor> = {
  ViT: { defaults: { size: 224, resample: 2, ...HALF } },
  DeiT: { defaults: { size: 256, do_center_crop: true, crop_size: 224, resample: 3, ...HALF } },
  Beit: { defaults: { size: 224, crop_size: 224, resample: 3, ...HALF } },
  ConvNext: {
    defaults: { size: { shortest_edge: 384 }, resample: 3, crop_pct: 224 / 256, ...HALF },
    isEdge: true,
    quirk: 'convnext',
  },
  Bit: { defaults: { ...EDGE_AND_CROP, resample: 3, ...CLIP }, isEdge: true },
  CLIP: { defaults: { ...EDGE_AND_CROP, resample: 3, ...CLIP }, isEdge: true },
  Siglip: { defaults: { size: { height: 224, width: 224 }, resample: 3, ...HALF }, isEdge: true },
  MobileNetV1: MOBILENET,
  MobileNetV2: MOBILENET,
  MobileViT: {
    defaults: { ...EDGE_AND_CROP, crop_size: 256, resample: 3, do_flip_channel_order: true },
    isEdge: true,
    quirk: 'mobilevit',
  },
  Levit: { defaults: { ...EDGE_AND_CROP, resample: 3, ...IMAGENET }, isEdge: true, quirk: 'levit' },
  EfficientNet: {
    defaults: { size: 346, crop_size: 289, resample: 3, include_top: true, ...HALF },
    quirk: 'efficientnet',
  },
}

const GENERIC: Processor = { defaults: { size: 224, crop_size: 224, resample: 2, ...HALF } }

/** `ViTImageProcessor`, `ViTImageProcessorFast` and the older `ViTFeatureExtractor` are one class. */
export function findProcessor(file: JsonFile, note: (message: string) => void): Processor {
  const type = file.json.image_processor_type ?? file.json.feature_extractor_type
  if (type === undefined) return GENERIC
  if (typeof type !== 'string') throw invalidKey(file, 'image_processor_type', type, "a class's name")
  const name = type.replace(/(ImageProcessor|FeatureExtractor)(Fast|Pil)?$/, '')
  if (Object.hasOwn(PROCESSORS, name)) return PROCESSORS[name]
  note(
    `${file.path}: image_processor_type ${JSON.stringify(type)} is not known: its keys are read as a ViT's`,
  )
  return GENERIC
}
