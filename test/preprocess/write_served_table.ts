/** Write the table of docs/models.md: node test/preprocess/write_served_table.js */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from '../running_server.ts'
import { type Comparison, cases, compare, servedTable } from './processor_goldens.ts'

const comparisons: Comparison[] = []
for (const golden of cases) comparisons.push(await compare(golden, () => {}))
const path = join(ROOT, 'docs/models.md')
const old = /Made by transformers [\s\S]*?\n\|---.*\n(\|.*\n)*/
writeFileSync(
  path,
  readFileSync(path, 'utf8').replace(old, () => `${servedTable(comparisons)}\n`),
)
