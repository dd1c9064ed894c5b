import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { ROOT } from '../running_server.ts'
import { type Comparison, cases, compare, servedTable } from './processor_goldens.ts'

/** The only note that a golden's configuration may cause. */
const EXPECTED_NOTE = /test_input_size/

const comparisons: Comparison[] = []

for (const golden of cases) {
  const name = JSON.stringify(golden.preprocessor ?? golden.config).slice(0, 150)
  test(`the real processor's tensors, bit for bit: ${name}`, async () => {
    const comparison = await compare(golden, (message) => assert.match(message, EXPECTED_NOTE))
    comparisons.push(comparison)
    assert.deepEqual(comparison.differing, [], 'numbers of the photos')
  })
}

test('docs/models.md has the table of this run', () => {
  assert.ok(cases.length >= 200)
  const page = readFileSync(join(ROOT, 'docs/models.md'), 'utf8')
  const hint = 'docs/models.md has another table: node test/preprocess/write_served_table.js'
  assert.ok(page.includes(servedTable(comparisons)), hint)
})
