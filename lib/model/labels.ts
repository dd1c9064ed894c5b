/** The names of the classes. */
import { readFileSync } from 'node:fs'
import { invalidKey, type JsonFile } from '../../preprocess/index.ts'
import { StartError } from '../inference/errors.ts'

/** Names of classes before they are compared with the output. */
export interface Labels {
  /** the file and the key, for errors */
  source: string
  byNumber: Map<string, unknown>
}

/**
 * @param config `{"0": "cat", ...}` or a list, under one of the names that transformers, timm and people use; else label2id
 * @param own the same from the ONNX file; config.json takes precedence
 * @param note called with each list that has no effect
 */
export function findLabels(
  config: JsonFile,
  own: Record<string, string> | string[] | undefined,
  note: (message: string) => void,
): Labels | undefined {
  const { id2label, labels, label_names, pretrained_cfg, label2id } = config.json
  const timm = pretrained_cfg as JsonFile['json'] | undefined
  const lists = { id2label, labels, label_names, 'pretrained_cfg.label_names': timm?.label_names }
  const [first, ...others] = Object.entries(lists).filter(([, list]) => list !== undefined && list !== null)
  if (!first) {
    if (label2id) {
      const inverted = Object.entries(label2id).map(([name, number]) => [String(number), name])
      return { source: `${config.path}: label2id`, byNumber: byNumber(Object.fromEntries(inverted)) }
    }
    if (own) return { source: 'the ONNX file', byNumber: byNumber(own) }
    const { architecture, num_classes: classes } = config.json
    if (typeof architecture !== 'string') return undefined
    if (classes === 1000) return imageNetLabels(note)
    if (OTHER_IMAGENETS.includes(classes as number))
      note(
        `${config.path}: there are no labels, and timm's of ${classes} classes are not included: add label_names`,
      )
    return undefined
  }
  const [key, names] = first
  if (typeof names !== 'object') throw invalidKey(config, key, names, '{"0": "name", ...} or a list of names')
  const text = (list: unknown) => JSON.stringify(Object.entries(Object(list)))
  for (const [other, list] of others)
    if (text(list) !== text(names)) note(`${config.path}: ${other} has no effect beside ${key}`)
  return { source: `${config.path}: ${key}`, byNumber: byNumber(Object(names)) }
}

/** Numbers of classes for which timm, too, adds labels when it loads a folder: lists of ImageNet-21k and -22k. */
const OTHER_IMAGENETS = [11221, 11821, 21841, 21842, 21843]

/** timm leaves out the labels of ImageNet-1k, and adds them when it loads such a folder. */
function imageNetLabels(note: (message: string) => void): Labels {
  note("there are no labels: ImageNet-1k's are used, as timm and transformers do for 1000 classes")
  const names = JSON.parse(readFileSync(new URL('imagenet_labels.json', import.meta.url), 'utf8'))
  return { source: "timm's list of ImageNet-1k", byNumber: byNumber(names) }
}

/** As transformers reads `id2label`: a key may be "00", a name may be a number. */
function byNumber(names: object): Labels['byNumber'] {
  const entries = Object.entries(names).map(([key, name]): [string, unknown] => [
    /^\d+$/.test(key) ? String(Number(key)) : key,
    typeof name === 'number' ? String(name) : name,
  ])
  return new Map(entries)
}

/** The name that transformers gives to a class without one begins with this; other libraries' are the class numbers. */
export function prefixOf({ json: { model_type: type } }: JsonFile): string {
  return typeof type === 'string' && type !== 'timm_wrapper' ? 'LABEL_' : ''
}

/**
 * @param labels absent: the class numbers
 * @param prefix of the class numbers
 * @returns one per class, in the order of the output
 * @throws StartError unless there is one for each class
 */
export function inClassOrder(labels: Labels | undefined, classes: number, prefix = ''): readonly string[] {
  const numbers = Array.from({ length: classes }, (_, index) => String(index))
  if (!labels) return numbers.map((number) => prefix + number)
  const { source, byNumber } = labels
  if (byNumber.size !== classes) {
    throw new StartError(
      `${source} has ${byNumber.size} labels, but the model's output has ${classes} classes: list one label per class, in the order of the output`,
    )
  }
  return numbers.map((number) => {
    const name = byNumber.get(number)
    if (typeof name === 'string') return name
    throw new StartError(
      `${source} has no label for class ${number}, expected one for each class from 0 to ${classes - 1}`,
    )
  })
}
