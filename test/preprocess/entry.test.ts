import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { ROOT } from '../running_server.ts'

test('the fast decoders start without sharp', () => {
  const script = `
    const { openFast } = await import('./preprocess/index.js')
    const { readFileSync } = await import('node:fs')
    const recipe = { channels: 1, normalize: [], dtype: 'uint8' }
    const image = openFast(readFileSync('models/mnist/sample.png'), recipe, { maxPixels: 1e6 })
    const { width, height } = image.toPixels()
    const loaded = process.report.getReport().sharedObjects.some((path) => /sharp|vips/.test(path))
    console.log(width, height, loaded)`
  const output = execFileSync(process.execPath, ['--input-type=module', '-e', script], {
    cwd: ROOT,
    encoding: 'utf8',
  })
  assert.equal(output, '250 250 false\n')
})
