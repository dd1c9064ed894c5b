import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { test } from 'node:test'
import { ROOT } from './running_server.ts'

/** Each folder imports only from those after it, and the root from all. */
const FOLDERS = [
  'protocols',
  'lib/process',
  'lib/cluster',
  'lib/check',
  'lib/hub',
  'lib/input',
  'lib/http',
  'lib/security',
  'lib/log',
  'lib/model',
  'lib/workers',
  'lib/inference',
  'preprocess',
]
const MAX_FILES = 10
const MAX_LINES = 250
const MAX_ROOT_LINES = 150

interface SourceFile {
  /** from the root */
  path: string
  lines: number
  /** paths from the root of its own imports, types included, and names of packages */
  imports: string[]
}

function listPaths(folder: string): string[] {
  const isRoot = folder === ''
  const names = readdirSync(join(ROOT, folder), { recursive: !isRoot }) as string[]
  return names
    .filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))
    .map((name) => join(folder, name))
}

function readSource(path: string): SourceFile {
  const text = readFileSync(join(ROOT, path), 'utf8')
  const statements = [
    ...text.matchAll(/^(?:import|export) [^'"]*?from '([^']+)'/gms),
    ...text.matchAll(/\bimport\('([^']+)'\)/g),
    ...text.matchAll(/^import '([^']+)'/gm),
  ]
  const imports = statements.map(([, name]) =>
    name.startsWith('.') ? relative(ROOT, join(ROOT, dirname(path), name)) : name,
  )
  return { path, lines: text.split('\n').length - 1, imports }
}

const sources = new Map(
  ['', 'lib', 'preprocess', 'protocols']
    .flatMap(listPaths)
    .filter((path) => !path.endsWith('.as.ts'))
    .map((path) => [path, readSource(path)]),
)

/** The index of a file's folder; -1 for the root. */
function folderOf(path: string): number {
  return FOLDERS.findIndex((folder) => path.startsWith(`${folder}/`))
}

/** Imports other than packages. */
function ownImports({ imports }: SourceFile): string[] {
  return imports.filter((name) => name.endsWith('.ts'))
}

test('imports name files that exist, with their .ts', () => {
  assert.ok(sources.size > 50)
  for (const source of sources.values()) {
    for (const path of ownImports(source)) assert.ok(sources.has(path), `${source.path} imports ${path}`)
  }
})

test('preprocess/ imports itself, sharp and Node only; others import it through its index.ts only', () => {
  const [inside, outside] = [true, false].map((isInside) =>
    [...sources.values(), ...listPaths('bench').map(readSource)].filter(
      ({ path }) => path.startsWith('preprocess/') === isInside,
    ),
  )
  for (const { path, imports } of inside)
    for (const name of imports) assert.match(name, /^(sharp$|node:|preprocess\/)/, path)
  const uses = outside.flatMap(({ imports }) => imports.filter((name) => name.startsWith('preprocess/')))
  assert.deepEqual([...new Set(uses)], ['preprocess/index.ts'])
  assert.ok(inside.length > 20 && uses.length > 5)
})

test('every file is in one of these folders or at the root', () => {
  for (const { path } of sources.values()) assert.ok(folderOf(path) >= 0 || !path.includes('/'), path)
})

test('imports run one way: to the same folder or to a later one, and never to the root', () => {
  for (const source of sources.values()) {
    const folder = folderOf(source.path)
    for (const path of ownImports(source)) {
      if (folder === -1) continue
      assert.ok(folderOf(path) >= folder, `${source.path} imports ${path}`)
    }
  }
})

test('imports form no cycle', () => {
  const finished = new Set<string>()
  const visit = (path: string, trail: string[]) => {
    assert.ok(!trail.includes(path), `cycle: ${[...trail, path].join(' -> ')}`)
    const source = sources.get(path)
    if (finished.has(path) || !source) return
    for (const next of ownImports(source)) visit(next, [...trail, path])
    finished.add(path)
  }
  for (const path of sources.keys()) visit(path, [])
  assert.equal(finished.size, sources.size)
})

test('folders and files are small', () => {
  const folders = new Map<string, number>()
  for (const { path, lines } of sources.values()) {
    folders.set(dirname(path), (folders.get(dirname(path)) ?? 0) + 1)
    const most = path.includes('/') ? MAX_LINES : MAX_ROOT_LINES
    assert.ok(lines <= most, `${path} has ${lines} lines, more than ${most}`)
  }
  for (const [folder, files] of folders) assert.ok(files <= MAX_FILES, `${folder} has ${files} files`)
})

test('no file is named utils, types, common, helpers or misc', () => {
  for (const path of sources.keys()) assert.doesNotMatch(path, /utils?|types|common|helpers?|misc/)
})
