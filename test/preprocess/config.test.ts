import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import sharp from 'sharp'
import {
  ConfigError,
  describeRecipe,
  loadRecipe,
  preprocess,
  preview,
  readJsonFile,
  readRecipe,
} from '../../preprocess/index.ts'
import { ROOT } from '../running_server.ts'

function scratchFile(text: string | Buffer): { path: string; remove: () => void } {
  const dir = mkdtempSync(join(tmpdir(), 'onnxpress-config-'))
  const path = join(dir, 'config.json')
  writeFileSync(path, text)
  return { path, remove: () => rmSync(dir, { recursive: true }) }
}

const broken: [what: string, text: string, line: number, reason: RegExp][] = [
  ['a value that is missing', '{\n"a": 1,\n"b": }\n', 3, /^Unexpected token '?}'?$/],
  ['the same word, valid before', `{\n"a": "}",\n"b": [1,2,3],\n\n"c": }${' '.repeat(500)}\n\n}`, 5, /token/],
  ['a comma too many', '{\n"a": 1,\n}', 3, /./],
  ['a comment', '{\n"a": 1, // one\n"b": 2}', 2, /./],
  ['a word', '{"a": 1,\n"b": nope}', 2, /./],
  ['a line break in a string', '{"a": 1,\n"b": "x\n"}', 2, /control character/i],
  ['an end that comes too early', '{\n"size": ', 2, /^Unexpected end/],
  ['nothing', '', 1, /^Unexpected end/],
  ['text after the end', '{}\n\n{}', 3, /./],
]
for (const [what, text, line, reason] of broken)
  test(`JSON with ${what}: the line and what is wrong`, () => {
    const { path, remove } = scratchFile(text)
    assert.throws(
      () => readJsonFile(path),
      (error: unknown) => {
        assert.ok(error instanceof ConfigError)
        const [, said, why] = /^.*config\.json, line (\d+): not valid JSON: (.+)$/.exec(error.message)!
        assert.equal(Number(said), line, error.message)
        assert.match(why, reason)
        return true
      },
    )
    remove()
  })

test('a JSON file: a byte order mark and nulls are dropped; none is undefined', () => {
  const { path, remove } = scratchFile('\ufeff{"a": null, "b": {"c": null}}')
  assert.deepEqual(readJsonFile(path), { path, json: { b: { c: null } } })
  remove()
  assert.equal(readJsonFile(path), undefined)
})

test('loadRecipe reads a folder, and says what it assumed', async () => {
  const recipe = loadRecipe(join(ROOT, 'models/mnist'))!
  assert.equal(recipe.channels, 1)
  assert.match(describeRecipe(recipe).join('\n'), /^decode, .*\nresize .*28x28/)
  const { path, remove } = scratchFile('{}')
  const notes: string[] = []
  loadRecipe(join(path, '..'), { note: (message) => notes.push(message) })
  assert.match(notes.join(), /^there is no preprocessor_config.json: images are resized to 224x224/)
  remove()
})

const CONFIG = { path: 'preprocessor_config.json', json: { size: { width: 3, height: 2 }, image_mean: 0.5 } }
const inputOf = (dtype: string) => ({ name: 'x', dtype, dims: ['n', 3, 2, 3] })
const red = sharp({ create: { width: 9, height: 9, channels: 3, background: { r: 255, g: 3, b: 0 } } })

test('an integer graph gets levels, a float graph rescaled float32, int8 is refused', async () => {
  const file = await red.png().toBuffer()
  const run = (dtype: string) =>
    preprocess(file, readRecipe({ preprocessor: CONFIG }, { input: inputOf(dtype) })!, { maxPixels: 100 })
  for (const dtype of ['uint8', 'int32', 'int64', 'bool']) {
    const tensor = await run(dtype)
    const levels = Uint8Array.from([255, 255, 255, 255, 255, 255, 3, 3, 3, 3, 3, 3, 0, 0, 0, 0, 0, 0])
    assert.deepEqual(tensor, { dtype: 'uint8', dims: [1, 3, 2, 3], data: levels })
  }
  for (const dtype of ['float32', 'float16', 'float64']) {
    const { data, dims } = await run(dtype)
    assert.ok(data instanceof Float32Array)
    assert.deepEqual(dims, [1, 3, 2, 3])
    assert.deepEqual([data[0], data[17]], [1, -1])
  }
  await assert.rejects(async () => run('int8'), /^ConfigError: the model's input x is int8, expected uint8/)
})

test('the preview is the image before rescaling, as a PNG', async () => {
  const recipe = readRecipe({ preprocessor: CONFIG }, { input: inputOf('float32') })!
  const png = await preview(await red.webp({ lossless: true }).toBuffer(), recipe, { maxPixels: 100 })
  const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true })
  assert.deepEqual([info.width, info.height, info.channels], [3, 2, 3])
  assert.deepEqual([...data.subarray(0, 3)], [255, 3, 0])
  const grey = await preview(await red.jpeg().toBuffer(), { ...recipe, channels: 1 }, { maxPixels: 100 })
  assert.equal((await sharp(grey).metadata()).space, 'b-w')
})
