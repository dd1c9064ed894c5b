import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { PbfWriter } from 'pbf'
import { labelsOf, originOf, readOnnxFile } from '../lib/model/onnx/onnx_file.ts'
import { readUltralytics } from '../preprocess/index.ts'
import { ROOT } from './running_server.ts'

const EXPORTS = join(ROOT, 'test/fixtures/exports')
const pathOf = (name: string) => join(EXPORTS, name, 'model.onnx')

test('weights are skipped, not read: a file with a hole of 64 GB', async () => {
  const gigabytes = 64 * 2 ** 30
  const nodes = new PbfWriter()
  nodes.writeMessage(
    1,
    (_, node) => {
      node.writeStringField(1, 'logits')
      node.writeStringField(2, 'scores')
      node.writeStringField(4, 'Softmax')
    },
    {},
  )
  nodes.writeTag(5, 2)
  nodes.writeVarint(gigabytes)
  const start = nodes.finish()
  const graph = new PbfWriter()
  graph.writeTag(7, 2)
  graph.writeVarint(start.length + gigabytes)
  const head = Buffer.concat([graph.finish(), start])
  const end = new PbfWriter()
  end.writeMessage(
    14,
    (_, entry) => {
      entry.writeStringField(1, 'task')
      entry.writeStringField(2, 'classify')
    },
    {},
  )

  const path = join(mkdtempSync(join(tmpdir(), 'onnxpress-hole-')), 'model.onnx')
  const file = await open(path, 'w')
  await file.write(head, 0)
  await file.write(end.finish(), 0, undefined, head.length + gigabytes)
  await file.close()

  const { nodes: found, metadata } = await readOnnxFile(path)
  assert.equal(found.get('scores')?.operator, 'Softmax')
  assert.deepEqual(metadata, { task: 'classify' })
})

test('the operator that makes an output is found through operators that keep its values', async () => {
  const operatorOf = async (path: string, output: string) =>
    originOf(await readOnnxFile(path), output)?.operator
  const MODELS = join(ROOT, 'test/fixtures/models')
  assert.equal(await operatorOf(join(MODELS, 'softmaxed/model.onnx'), 'y'), 'Softmax') // then Cast
  assert.equal(await operatorOf(join(MODELS, 'fashion/model.onnx'), 'y'), 'Gemm')
  assert.equal(await operatorOf(join(MODELS, 'dtypes/int8/model.onnx'), 'y'), undefined) // the input itself
})

test('a chain of 100,000 operators that keep their values is followed', () => {
  const node = (i: number) => ({ operator: 'Identity', inputs: [`v${i}`], outputs: [`v${i + 1}`] })
  const nodes = new Map(Array.from({ length: 100_000 }, (_, i) => [`v${i + 1}`, node(i)]))
  assert.equal(originOf({ nodes }, 'v100000'), undefined)
})

test('a file that announces more bytes than it has does not hang the reader', async () => {
  const path = join(mkdtempSync(join(tmpdir(), 'onnxpress-short-')), 'model.onnx')
  // field 1 is a number; field 7, the graph, would have 2^62 bytes
  writeFileSync(path, Buffer.from('08093affffffffffffffff3f0a01', 'hex'))
  const { nodes, metadata } = await readOnnxFile(path)
  assert.deepEqual([nodes.size, metadata], [0, {}])
})

test("scikit-learn's labels are an attribute or a list, of words or of numbers", async () => {
  for (const model of ['LogisticRegression', 'MLPClassifier']) {
    for (const [kind, labels] of [
      ['words', ['cat', 'dog', 'emu']],
      ['numbers', ['-3', '5', '40']],
    ]) {
      const file = await readOnnxFile(pathOf(`scikit_learn_${model}_${kind}`))
      assert.deepEqual(labelsOf(file, 'label'), labels, `${model} ${kind}`)
    }
  }
})

test("Ultralytics' metadata becomes its preprocessing and its names", async () => {
  const path = pathOf('Ultralytics_metadata_on_a_small_graph')
  const { metadata } = await readOnnxFile(path)
  const { labels } = JSON.parse(readFileSync(join(path, '../truth.json'), 'utf8'))
  assert.deepEqual(Object.values(readUltralytics(path, metadata)?.names ?? {}), labels)
  const python = String.raw`{0: 'a\'b"', 7: "tab\t\\ \x7f\u200b\U000e0001"}`
  const { names, preprocessor } = readUltralytics(path, { ...metadata, names: python, imgsz: '[64, 96]' })!
  assert.deepEqual(names, { 0: 'a\'b"', 7: 'tab\t\\ \x7f\u200b\u{e0001}' })
  assert.deepEqual(preprocessor.json.size, { height: 64, width: 96 })
  assert.equal(readUltralytics(path, { ...metadata, author: 'me' }), undefined)
  assert.throws(
    () => readUltralytics(path, { ...metadata, task: 'detect' }),
    /task is detect, expected classify/,
  )
  assert.throws(
    () => readUltralytics(path, { ...metadata, imgsz: '64' }),
    /imgsz is 64, expected \[height, width\]/,
  )
})
