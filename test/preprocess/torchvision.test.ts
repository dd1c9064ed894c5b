import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { preprocess, type Recipe } from '../../preprocess/index.ts'

interface Goldens {
  images: ({ file: string; offset: number; length: number } | { data: string })[]
  cases: { recipe: Recipe; tensors: [height: number, width: number, sha256: string][] }[]
}

const read = (name: string) => readFileSync(new URL(`../fixtures/${name}`, import.meta.url))
const { images, cases }: Goldens = JSON.parse(read('torchvision_goldens.json').toString())
const files = images.map((image) => {
  if ('data' in image) return Buffer.from(image.data, 'base64')
  return read(image.file).subarray(image.offset, image.offset + image.length)
})

for (const { recipe, tensors } of cases)
  test(`Python's tensors, bit for bit: ${JSON.stringify(recipe)}`, async () => {
    const wrong: number[] = []
    for (const [i, [height, width, sha256]] of tensors.entries()) {
      const { data, dims } = await preprocess(files[i], recipe, { maxPixels: 50_000_000 })
      assert.deepEqual(dims, [1, recipe.channels, height, width])
      if (!createHash('sha256').update(data).digest('hex').startsWith(sha256)) wrong.push(i)
    }
    assert.deepEqual(wrong, [])
    assert.ok(tensors.length >= 20)
  })
