import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { test } from 'node:test'
import { ROOT } from '../running_server.ts'

const FOLDER = 'preprocess'
const ENTRY = join(FOLDER, 'index.ts')

/** Each file under a folder and its imports, types included, as paths from the root or names of packages. */
function importsUnder(folder: string, isDeep = true): [file: string, imports: string[]][] {
  const names = readdirSync(join(ROOT, folder), { recursive: isDeep }) as string[]
  return names
    .filter((name) => name.endsWith('.ts') && !/\.(d|as)\.ts$/.test(name))
    .map((name) => {
      const file = join(folder, name)
      const text = readFileSync(join(ROOT, file), 'utf8')
      const imports = [...text.matchAll(/(?:\bfrom |\bimport\(|^import )'([^']+)'/gm)].map(([, path]) => path)
      const resolve = (path: string) => relative(ROOT, join(ROOT, dirname(file), path))
      return [file, imports.map((path) => (path.startsWith('.') ? resolve(path) : path))]
    })
}

test('preprocess/ imports itself, sharp and Node only', () => {
  const files = importsUnder(FOLDER)
  assert.ok(files.length > 20)
  for (const [file, imports] of files)
    for (const path of imports)
      assert.ok(
        path === 'sharp' || path.startsWith('node:') || path.startsWith(`${FOLDER}/`),
        `${file}: ${path}`,
      )
})

test('other folders import preprocess/ through its index.ts only', () => {
  const outside = [
    importsUnder('', false),
    ...['lib', 'protocols', 'bench'].map((folder) => importsUnder(folder)),
  ]
  let uses = 0
  for (const [file, imports] of outside.flat()) {
    const inside = imports.filter((path) => path.startsWith(`${FOLDER}/`))
    for (const path of inside) assert.equal(path, ENTRY, file)
    uses += inside.length
  }
  assert.ok(uses > 5)
})

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
