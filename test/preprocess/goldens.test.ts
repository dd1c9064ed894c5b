import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { preprocess, readRecipe } from '../../preprocess/index.ts'

interface Golden {
  name: string
  offset: number
  length: number
  channels: 1 | 3
  config: Record<string, unknown>
  dims: number[]
  sha256: string
}

const FIXTURES = new URL('../fixtures/', import.meta.url)
const goldens: Golden[] = JSON.parse(readFileSync(new URL('goldens.json', FIXTURES), 'utf8'))
const files = readFileSync(new URL('goldens.bin', FIXTURES))

/** The recipe for a graph of any size. */
function recipeOf(path: string, json: Record<string, unknown>, channels: 1 | 3) {
  const input = { name: 'x', dtype: 'float32', dims: ['n', channels, 'h', 'w'] }
  return readRecipe({ preprocessor: { path, json } }, { input, note: assert.fail })!
}

test("every tensor is Pillow's and NumPy's, bit for bit", async () => {
  const wrong: string[] = []
  for (const { name, offset, length, channels, config, dims, sha256 } of goldens) {
    const recipe = recipeOf(name, config, channels)
    const file = files.subarray(offset, offset + length)
    const tensor = await preprocess(file, recipe, { maxPixels: 50_000_000 })
    const same = createHash('sha256').update(tensor.data).digest('hex') === sha256
    if (!same || String(tensor.dims) !== String(dims)) wrong.push(`${name} ${JSON.stringify(config)}`)
  }
  assert.deepEqual(wrong, [])
  assert.ok(new Set(goldens.map(({ offset }) => offset)).size >= 300)
})

const IMAGES: { name: string; file: string; width: number; height: number; sha256: string }[] = JSON.parse(
  readFileSync(new URL('images.json', FIXTURES), 'utf8'),
)
const UNCHANGED = { do_resize: false, do_rescale: false, do_normalize: false }

for (const { name, file, width, height, sha256 } of IMAGES)
  test(`${name}: the pixels are Pillow's`, async () => {
    const bytes = Buffer.from(file, 'base64')
    const { data, dims } = await preprocess(bytes, recipeOf(name, UNCHANGED, 3), { maxPixels: 100 })
    assert.deepEqual(dims, [1, 3, height, width])
    assert.equal(createHash('sha256').update(Uint8Array.from(data)).digest('hex'), sha256)
  })
