import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { ROOT } from './running_server.ts'

const WORKFLOWS = '.github/workflows'

function linesOf(file: string): string[] {
  return readFileSync(join(ROOT, file), 'utf8').split('\n')
}

test('base images are pinned by digest, with their exact version', () => {
  for (const file of ['Dockerfile', 'Dockerfile.cuda']) {
    const bases = linesOf(file).filter((line) => /^FROM (?!\$)/.test(line))
    assert.ok(bases.length > 0)
    for (const line of bases) assert.match(line, /^FROM \S+:\d+\.\d+\.\d+\S*@sha256:[0-9a-f]{64}( AS \w+)?$/)
  }
})

test('GitHub Actions are pinned by commit, and images that the CI runs by digest', () => {
  let [actions, images] = [0, 0]
  for (const name of readdirSync(join(ROOT, WORKFLOWS))) {
    const lines = linesOf(join(WORKFLOWS, name))
    for (const line of lines.filter((text) => text.includes('uses:'))) {
      assert.match(line, /uses: [\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/)
      actions++
    }
    for (const line of lines.filter((text) => text.includes('docker run'))) {
      assert.match(line, /:v?\d+\.\d+\.\d+@sha256:[0-9a-f]{64} /)
      images++
    }
  }
  assert.ok(actions > 0 && images > 0)
})
