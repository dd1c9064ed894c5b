import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { topKClasses } from '../lib/model/predictions.ts'

// few distinct values, so that many are equal
const score = fc.oneof(fc.integer({ min: -3, max: 3 }), fc.constantFrom(Number.NaN, -Infinity, Infinity))

test('the best classes are the first of the sorted ones: equal scores in class order, NaN last', () => {
  fc.assert(
    fc.property(fc.array(score, { maxLength: 60 }), fc.nat(70), (scores, k) => {
      // Array.prototype.sort is stable
      const sorted = [...scores.keys()].sort((a, b) => {
        const [x, y] = [a, b].map((index) => (Number.isNaN(scores[index]) ? -Infinity : scores[index]))
        return x === y ? 0 : y - x
      })
      assert.deepEqual(topKClasses(Float64Array.from(scores), k), sorted.slice(0, k))
    }),
    { numRuns: 2000 },
  )
})
