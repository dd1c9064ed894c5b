import assert from 'node:assert/strict'
import { test } from 'node:test'
import { editDistance, nearest } from '../../preprocess/config/nearest.ts'

const NAMES = ['HOST', 'PORT', 'DEVICE', 'MAX_UPLOAD_MB', 'MAX_BATCH_SIZE', 'TOP_K']

for (const [from, to, edits] of [
  ['', '', 0],
  ['', 'abc', 3],
  ['abc', 'abc', 0],
  ['abc', 'ab', 1],
  ['abc', 'axc', 1],
  ['abc', 'acb', 1],
  ['PROT', 'PORT', 1],
  ['kitten', 'sitting', 3],
] as const) {
  test(`${edits} edits lead from "${from}" to "${to}", and back`, () => {
    assert.equal(editDistance(from, to), edits)
    assert.equal(editDistance(to, from), edits)
  })
}

for (const [name, expected] of [
  ['PROT', 'PORT'],
  ['port', 'PORT'],
  ['TOP_k', 'TOP_K'],
  ['TOPK', 'TOP_K'],
  ['top-k', 'TOP_K'],
  ['MAX_UPLOADS_MB', 'MAX_UPLOAD_MB'],
  ['MAX_UPLOADS_MBS', 'MAX_UPLOAD_MB'],
  ['MAXBATCHSIZE', 'MAX_BATCH_SIZE'],
  ['PORT', undefined],
  ['HOSTNAME', undefined],
  ['HOME', undefined],
  ['MAX_UPLOAD', undefined],
  ['', undefined],
] as const) {
  test(`"${name}" is near ${expected ?? 'nothing'}`, () => {
    assert.equal(nearest(name, NAMES), expected)
  })
}

test('the nearest of several wins, within the most edits', () => {
  assert.equal(nearest('abcdef', ['abxdex', 'abcdex']), 'abcdex')
  assert.equal(nearest('abxdex', ['abcdef'], 1), undefined)
})
