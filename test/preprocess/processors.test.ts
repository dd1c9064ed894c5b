import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { type ImageTensor, preprocess, readRecipe } from '../../preprocess/index.ts'

type Json = Record<string, unknown>

interface Goldens {
  photos: { offset: number; length: number }[]
  /** for each photo a hash of dims and numbers, '' if the processor itself fails; see make_processor_goldens.py */
  cases: { config: Json; preprocessor?: Json; tensors: string }[]
}

const FIXTURES = new URL('../fixtures/', import.meta.url)
const { photos, cases }: Goldens = JSON.parse(
  readFileSync(new URL('processor_goldens.json', FIXTURES), 'utf8'),
)
const files = readFileSync(new URL('photos.bin', FIXTURES))
const photoBytes = photos.map(({ offset, length }) => files.subarray(offset, offset + length))

/** What is noted about a golden's configuration; nothing about the others. */
const EXPECTED_NOTE = /test_input_size/

function folder(config: Json, preprocessor?: Json) {
  const filled = (json: Json) =>
    Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null))
  return {
    config: { path: 'config.json', json: filled(config) },
    preprocessor: preprocessor && { path: 'preprocessor_config.json', json: filled(preprocessor) },
  }
}

function hashOf({ dims, data }: ImageTensor): string {
  return createHash('sha256').update(dims.join()).update(data).digest('hex').slice(0, 12)
}

for (const { config, preprocessor, tensors } of cases) {
  const name = JSON.stringify(preprocessor ?? config).slice(0, 150)
  test(`the real processor's tensors, to the bit: ${name}`, async () => {
    const note = (message: string) => assert.match(message, EXPECTED_NOTE)
    const recipe = readRecipe(folder(config, preprocessor), { note })!
    const wrong: string[] = []
    for (const [index, expected] of tensors.split(' ').entries()) {
      if (expected === '') continue
      const tensor = await preprocess(photoBytes[index], recipe, { maxPixels: 50_000_000 })
      if (hashOf(tensor) !== expected) wrong.push(`photo ${index}: ${tensor.dims}`)
    }
    assert.deepEqual(wrong, [])
  })
}
