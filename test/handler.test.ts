import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { preprocess } from '../handler.ts'
import { toBytes } from '../lib/inference/tensor.ts'
import { readPreprocessor } from '../preprocess/config/transformers.ts'

interface Golden {
  name: string
  offset: number
  length: number
  channels: 1 | 3
  config: Record<string, unknown>
  dims: number[]
  sha256: string
}

const FIXTURES = new URL('./fixtures/', import.meta.url)
const goldens: Golden[] = JSON.parse(readFileSync(new URL('goldens.json', FIXTURES), 'utf8'))
const files = readFileSync(new URL('goldens.bin', FIXTURES))

test('every tensor is the one that Pillow and NumPy make, to the bit', async () => {
  const wrong: string[] = []
  for (const { name, offset, length, channels, config, dims, sha256 } of goldens) {
    const recipe = readPreprocessor({ path: name, json: config }, channels, assert.fail)
    const file = files.subarray(offset, offset + length)
    const tensor = await preprocess({ file, recipe, maxPixels: 50_000_000 })
    const same = createHash('sha256').update(toBytes(tensor.data)).digest('hex') === sha256
    if (!same || String(tensor.dims) !== String(dims)) wrong.push(`${name} ${JSON.stringify(config)}`)
  }
  assert.deepEqual(wrong, [])
  assert.ok(new Set(goldens.map(({ offset }) => offset)).size >= 300)
})
