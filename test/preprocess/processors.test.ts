import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { preprocess, readRecipe } from '../../preprocess/index.ts'

type Json = Record<string, unknown>

interface Goldens {
  photos: { offset: number; length: number }[]
  /** for each photo the dims and the SHA-256 of the tensor; null if the processor itself fails */
  cases: { config: Json; preprocessor?: Json; tensors: ([number[], string] | null)[] }[]
}

const FIXTURES = new URL('../fixtures/', import.meta.url)
const { photos, cases }: Goldens = JSON.parse(
  readFileSync(new URL('processor_goldens.json', FIXTURES), 'utf8'),
)
const files = readFileSync(new URL('photos.bin', FIXTURES))

function folder(config: Json, preprocessor?: Json) {
  const filled = (json: Json) =>
    Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null))
  return {
    config: { path: 'config.json', json: filled(config) },
    preprocessor: preprocessor && { path: 'preprocessor_config.json', json: filled(preprocessor) },
  }
}

for (const { config, preprocessor, tensors } of cases) {
  const name = JSON.stringify(preprocessor ?? config).slice(0, 150)
  test(`the real processor's tensors, to the bit: ${name}`, async () => {
    const recipe = readRecipe(folder(config, preprocessor), { note: assert.fail })!
    for (const [index, expected] of tensors.entries()) {
      if (!expected) continue
      const { offset, length } = photos[index]
      const file = files.subarray(offset, offset + length)
      const tensor = await preprocess(file, recipe, { maxPixels: 50_000_000 })
      assert.deepEqual(tensor.dims, expected[0], `dims of photo ${index}`)
      assert.equal(createHash('sha256').update(tensor.data).digest('hex'), expected[1], `photo ${index}`)
    }
  })
}
