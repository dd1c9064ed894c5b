import assert from 'node:assert/strict'
import { cpSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { ROOT, startServer } from './running_server.ts'

/** A copy of the bundled model with these files in its samples/. */
function folderWith(files: Record<string, Buffer>): string {
  const folder = mkdtempSync(join(tmpdir(), 'onnxpress-samples-'))
  cpSync(join(ROOT, 'models/mnist'), folder, { recursive: true })
  rmSync(join(folder, 'samples'), { recursive: true })
  mkdirSync(join(folder, 'samples'))
  for (const [name, bytes] of Object.entries(files)) writeFileSync(join(folder, 'samples', name), bytes)
  return folder
}

async function samplesOf(url: string): Promise<string[]> {
  return ((await (await fetch(`${url}/model`)).json()) as { samples: string[] }).samples
}

test('the samples of a folder: listed by name, served by that name only', async () => {
  const files = {
    'b c.png': Buffer.from('one'),
    'ä?.jpg': Buffer.from('two'),
    'notes.txt': Buffer.from('no'),
  }
  const folder = folderWith(files)
  symlinkSync(join(folder, 'nowhere'), join(folder, 'samples/broken.png'))
  const server = await startServer({ env: { MODEL_DIR: folder } })
  const samples = await samplesOf(server.url)
  assert.deepEqual(samples, ['/model/sample', '/model/samples/b%20c.png', '/model/samples/%C3%A4%3F.jpg'])
  assert.equal(await (await fetch(server.url + samples[1])).text(), 'one')
  assert.equal(await (await fetch(server.url + samples[2])).text(), 'two')
  for (const name of ['notes.txt', 'broken.png', '..%2fconfig.json', 'x.png']) {
    assert.equal((await fetch(`${server.url}/model/samples/${name}`)).status, 404, name)
  }
  await server.stop()
  rmSync(folder, { recursive: true })
})

test('at most 12 samples of 1 MB each are served, and the log says so', async () => {
  const names = Array.from({ length: 14 }, (_, k) => `${k + 10}.png`)
  const folder = folderWith(Object.fromEntries(names.map((name) => [name, Buffer.alloc(9)])))
  writeFileSync(join(folder, 'samples/10.png'), Buffer.alloc(2 ** 20 + 1))
  const server = await startServer({ env: { MODEL_DIR: folder } })
  const expected = names.slice(1, 13).map((name) => `/model/samples/${name}`)
  assert.deepEqual(await samplesOf(server.url), ['/model/sample', ...expected])
  assert.ok(
    server.log.some((line) =>
      /12 of 14 samples are served; the limits are 12 files and 1 MB each/.test(line),
    ),
  )
  await server.stop()
  rmSync(folder, { recursive: true })
})
