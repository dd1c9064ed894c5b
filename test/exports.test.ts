import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'node:test'
import { ROOT, run, startServer } from './running_server.ts'

const EXPORTS = join(ROOT, 'test/fixtures/exports')

/** Python's scores, from conformance/exporters.py. */
interface Truth {
  /** of the scores, in their order */
  labels: string[] | 'multi-label' | string
  /** features, or a PNG file in base64 */
  inputs: (number[] | string)[]
  scores: number[][]
}

interface Result {
  label?: string
  predictions: { label: string; score: number }[]
}

function readTruth(name: string): Truth {
  return JSON.parse(readFileSync(join(EXPORTS, name, 'truth.json'), 'utf8'))
}

describe('an exported model gets the scores of its library in Python', () => {
  const names = readdirSync(EXPORTS)
  assert.ok(names.length > 10)
  for (const name of names) {
    const { labels, inputs, scores } = readTruth(name)
    if (typeof labels === 'string' && labels.startsWith('refused')) {
      test(`${name} is refused with its fix`, async () => {
        const { code, stderr } = await run(['server.js'], { MODEL_DIR: join(EXPORTS, name) })
        assert.equal(code, 1)
        assert.match(stderr, /^onnxpress: [^\n]*\(ZipMap\)[^\n]* options=\{"zipmap": False\}[^\n]*\n$/)
      })
      continue
    }
    test(name, async () => {
      const server = await startServer({ env: { MODEL_DIR: join(EXPORTS, name) } })
      const results = await Promise.all(
        inputs.map(async (input) => {
          const body = JSON.stringify(typeof input === 'string' ? input : { data: [input] })
          const headers = { 'content-type': 'application/json' }
          const response = await fetch(`${server.url}/predict`, { method: 'POST', headers, body })
          assert.equal(response.status, 200)
          return (await response.json()) as Result
        }),
      )
      assert.equal(results.length, scores.length)
      for (const [row, { label, predictions }] of results.entries()) {
        const isMultiLabel = labels === 'multi-label'
        const expected = scores[row]
          .map((score, i) => ({ label: isMultiLabel ? String(i) : labels[i], score }))
          .filter(({ score }) => !isMultiLabel || score > 0.5)
          .sort((a, b) => b.score - a.score)
        assert.deepEqual(
          predictions.map((prediction) => prediction.label),
          expected.map((prediction) => prediction.label),
        )
        predictions.forEach(({ score }, i) => {
          assert.ok(Math.abs(score - expected[i].score) < 1e-5, `${score} is not ${expected[i].score}`)
        })
        if (!isMultiLabel) assert.equal(label, expected[0].label)
      }
      await server.stop()
    })
  }
})
