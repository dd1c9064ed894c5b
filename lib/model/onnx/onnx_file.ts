/** An ONNX file without its weights: the nodes, the metadata, and the class labels that scikit-learn's converter writes. */
import { open } from 'node:fs/promises'
import { type Field, MessageFile } from './message_file.ts'

export interface OnnxFile {
  /** the node that makes each value */
  nodes: Map<string, Node>
  /** lists of labels by their names */
  lists: Map<string, string[]>
  /** `metadata_props` */
  metadata: Record<string, string>
}

interface Node {
  operator: string
  inputs: string[]
  outputs: string[]
  /** of a classifier of the domain ai.onnx.ml */
  labels?: string[]
}

// numbers of fields in onnx.proto
const MODEL = { graph: 7, metadata: 14 }
const ENTRY = { key: 1, value: 2 }
const GRAPH = { node: 1, initializer: 5 }
const NODE = { input: 1, output: 2, operator: 4, attribute: 5 }
const ATTRIBUTE = { name: 1, ints: 8, strings: 9 }
const TENSOR = { int32Data: 5, stringData: 6, int64Data: 7, name: 8 }

/** Longest list of labels, in bytes. */
const MAX_LIST = 2 ** 16

/** Operators that keep the values, apart from their precision, and their order. */
const TRANSPARENT = [
  ...['Identity', 'Cast', 'Reshape', 'Flatten', 'Squeeze', 'Unsqueeze', 'Dropout'],
  ...['QuantizeLinear', 'DequantizeLinear'],
]

/** @throws Error if the path is not an ONNX file */
export async function readOnnxFile(path: string): Promise<OnnxFile> {
  const handle = await open(path)
  try {
    const messages = new MessageFile(handle, (await handle.stat()).size)
    const file: OnnxFile = { nodes: new Map(), lists: new Map(), metadata: {} }
    for await (const field of messages.fields(messages.root)) {
      if (field.number === MODEL.graph) await readGraph(messages, field, file)
      if (field.number === MODEL.metadata) await readMetadata(messages, field, file)
    }
    return file
  } finally {
    await handle.close()
  }
}

/** The node that computes a value, ignoring later ones that keep it as it is; undefined for an input or a constant. */
export function originOf({ nodes }: Pick<OnnxFile, 'nodes'>, value: string): Node | undefined {
  let node = nodes.get(value)
  while (node && TRANSPARENT.includes(node.operator)) node = nodes.get(node.inputs[0])
  return node
}

/** The labels that an output of labels chooses from, in class order; undefined where the graph does not say. */
export function labelsOf(file: OnnxFile, value: string): string[] | undefined {
  const node = originOf(file, value)
  return node?.labels ?? file.lists.get(node?.inputs[0] ?? '')
}

async function readGraph(messages: MessageFile, graph: Field, { nodes, lists }: OnnxFile): Promise<void> {
  for await (const field of messages.fields(graph)) {
    if (field.number === GRAPH.node) {
      const node = await readNode(messages, field)
      for (const output of node.outputs) nodes.set(output, node)
      if (node.operator === 'ArrayFeatureExtractor') lists.set(node.inputs[0], [])
    } else if (field.number === GRAPH.initializer && lists.size > 0) {
      // writers put the nodes first: a graph's fields come in the order of their numbers
      await readList(messages, field, lists)
    }
  }
}

async function readNode(messages: MessageFile, message: Field): Promise<Node> {
  const node: Node = { operator: '', inputs: [], outputs: [] }
  for await (const field of messages.fields(message)) {
    if (field.number === NODE.input) node.inputs.push(await messages.text(field))
    else if (field.number === NODE.output) node.outputs.push(await messages.text(field))
    else if (field.number === NODE.operator) node.operator = await messages.text(field)
    else if (field.number === NODE.attribute) node.labels ??= await readClassLabels(messages, field)
  }
  return node
}

/** classlabels_int64s, classlabels_ints or classlabels_strings; other attributes can be as large as a forest. */
async function readClassLabels(messages: MessageFile, attribute: Field): Promise<string[] | undefined> {
  const { value: first } = await messages.fields(attribute).next()
  if (first?.number !== ATTRIBUTE.name || !(await messages.text(first)).startsWith('classlabels_')) return
  return messages.decode<string[]>(attribute, [], (number, labels, pbf) => {
    if (number === ATTRIBUTE.ints) labels.push(...pbf.readPackedVarint([], true).map(String))
    if (number === ATTRIBUTE.strings) labels.push(pbf.readString())
  })
}

/** An initializer, if it is one of the lists. */
async function readList(messages: MessageFile, tensor: Field, lists: OnnxFile['lists']): Promise<void> {
  if (tensor.end - tensor.start > MAX_LIST) return
  const labels: string[] = []
  const { name } = await messages.decode(tensor, { name: '' }, (number, list, pbf) => {
    if (number === TENSOR.name) list.name = pbf.readString()
    if (number === TENSOR.stringData) labels.push(pbf.readString())
    if (number === TENSOR.int32Data || number === TENSOR.int64Data)
      labels.push(...pbf.readPackedVarint([], true).map(String))
  })
  if (lists.has(name)) lists.set(name, labels)
}

async function readMetadata(messages: MessageFile, entry: Field, { metadata }: OnnxFile): Promise<void> {
  const [key, value] = await messages.decode(entry, ['', ''], (number, pair, pbf) => {
    if (number === ENTRY.key) pair[0] = pbf.readString()
    if (number === ENTRY.value) pair[1] = pbf.readString()
  })
  metadata[key] = value
}
