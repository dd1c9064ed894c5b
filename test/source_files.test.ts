import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { test } from 'node:test'
import { ROOT } from './running_server.ts'

const FOLDERS = ['', 'lib', 'preprocess', 'protocols']

/** Every source file and the source files that it imports at run time, as paths from the root. */
function importGraph(): Map<string, string[]> {
  const graph = new Map<string, string[]>()
  for (const folder of FOLDERS) {
    for (const name of listSources(folder)) {
      const file = join(folder, name)
      const text = readFileSync(join(ROOT, file), 'utf8')
      const imports = [...text.matchAll(/^import (?!type )[^'"]*?from '(\.[^']+)'/gms)].map(
        ([, path]) => path,
      )
      graph.set(
        file,
        imports.map((path) => relative(ROOT, join(ROOT, dirname(file), path))),
      )
    }
  }
  return graph
}

function listSources(folder: string): string[] {
  try {
    const isRoot = folder === ''
    const names = readdirSync(join(ROOT, folder), { recursive: !isRoot }) as string[]
    return names.filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))
  } catch {
    return []
  }
}

test('imports name files that exist, with their .ts', () => {
  const graph = importGraph()
  assert.ok(graph.size > 10)
  for (const [file, imports] of graph) {
    for (const path of imports) assert.ok(graph.has(path), `${file} imports ${path}`)
  }
})

test('lib and protocols never import the root', () => {
  for (const [file, imports] of importGraph()) {
    if (dirname(file) === '.') continue
    for (const path of imports) assert.notEqual(dirname(path), '.', `${file} imports ${path}`)
  }
})

/** A file imports only from its own room and from rooms further down. Rooms on one line do not import each other. */
const ROOMS = [
  ['root'],
  ['protocols'],
  ['lib/process'],
  ['lib/input'],
  ['lib/http'],
  ['lib/security', 'lib/model', 'lib/workers'],
  ['lib/inference'],
  ['preprocess'],
]

function roomOf(file: string): string {
  const [first, second, ...rest] = file.split('/')
  if (second === undefined) return 'root'
  return first === 'lib' && rest.length > 0 ? `lib/${second}` : first
}

test('imports go one way, from room to room', () => {
  const level = (room: string) => ROOMS.findIndex((rooms) => rooms.includes(room))
  for (const [file, imports] of importGraph()) {
    const room = roomOf(file)
    assert.notEqual(level(room), -1, `${file} is in no known room`)
    for (const path of imports) {
      const imported = roomOf(path)
      if (imported === room) continue
      assert.ok(level(imported) > level(room), `${file} imports ${path}`)
    }
  }
})

test('no import leads in a circle', () => {
  const graph = importGraph()
  const finished = new Set<string>()
  const visit = (file: string, trail: string[]) => {
    assert.ok(!trail.includes(file), `cycle: ${[...trail, file].join(' -> ')}`)
    if (finished.has(file)) return
    for (const path of graph.get(file) ?? []) visit(path, [...trail, file])
    finished.add(file)
  }
  for (const file of graph.keys()) visit(file, [])
  assert.equal(finished.size, graph.size)
})

test('no file name says "miscellaneous"', () => {
  for (const file of importGraph().keys()) assert.doesNotMatch(file, /utils?|types|common|helpers?|misc/)
})
