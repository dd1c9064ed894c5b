/**
 * The documentation is executable. A fence of README.md or docs/*.md is one of these:
 *
 * - `sh`: run. In a block with `$` prompts, the lines after a command are its output; `...` stands for anything. In any
 *   other block every command must succeed. If the last line starts a server, the rest of the page uses it.
 * - `js`: run by Node. A comment after console.log() is its output.
 * - `json`: parsed, unless it is abbreviated by `...`.
 * - `console`: shown only, since it needs something that tests lack (NOT_HERE).
 * - `python`, `dockerfile`, `yaml`: shown only.
 */
import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  cpSync,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { freePort, ROOT } from './running_server.ts'

const DOCS = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md'))
const PAGES = ['README.md', ...DOCS.map((name) => `docs/${name}`)]
const LINKED = [
  ...PAGES,
  'CONTRIBUTING.md',
  'SECURITY.md',
  'CHANGELOG.md',
  'bench/RESULTS.md',
  'models/mnist/README.md',
]

/** Commands that need a registry, Docker, Kubernetes, a GPU, a model from the Hub, or minutes. */
const NOT_HERE =
  /^(git clone|npm ci|npm install|pip install|export OTEL|ONNXRUNTIME_NODE_INSTALL=skip npm|docker|gcloud|kubectl|optimum-cli|unzip|npm run bench)|onnxruntime-node-install|MODEL_DIR=digits|Xenova/m
const STARTS_SERVER = /(npm start|node server\.js)$/

interface Fence {
  language: string
  text: string
  line: number
}

function fencesOf(page: string): Fence[] {
  const text = readFileSync(join(ROOT, page), 'utf8')
  return [...text.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(({ 1: language, 2: body, index }) => ({
    language,
    text: body,
    line: text.slice(0, index).split('\n').length,
  }))
}

/** A folder with links to the files of this checkout, where commands can write. */
function workingFolder(page: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'onnxpress-docs-'))
  for (const name of readdirSync(ROOT)) {
    if (!['.git', '.env', 'my_model'].includes(name)) symlinkSync(join(ROOT, name), join(folder, name))
  }
  if (page === 'docs/preprocess.md') {
    cpSync(join(ROOT, 'models/mnist'), join(folder, 'my_model'), { recursive: true })
    symlinkSync(join(ROOT, 'models/mnist/sample.png'), join(folder, 'photo.jpg'))
  }
  return folder
}

const running = new Set<ChildProcess>()
process.once('exit', () => {
  for (const child of running) kill(child, 'SIGKILL')
})

/** Signal the process group: npm does not pass signals on. */
function kill(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    process.kill(-child.pid!, signal)
  } catch {
    // it has exited
  }
}

/** Runs the commands of one page, one after the other. */
class Shell {
  readonly folder: string
  port = 0
  #server: ChildProcess | undefined

  constructor(page: string) {
    this.folder = workingFolder(page)
  }

  /** Adapt a command to the free port. */
  #adapt(command: string): string {
    return command
      .replaceAll('localhost:8890', `localhost:${this.port}`)
      .replaceAll('node make_request.js', `node make_request.js --url http://localhost:${this.port}`)
      .replace(/\bPORT=\d+/, '')
  }

  #spawn(program: string, args: string[]): ChildProcess {
    const { PATH, HOME } = process.env
    const env = { PATH, HOME, PORT: String(this.port), NO_COLOR: '1', npm_config_loglevel: 'silent' }
    return spawn(program, args, { cwd: this.folder, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] })
  }

  async #run(program: string, args: string[]): Promise<{ code: number; output: string }> {
    const child = this.#spawn(program, args)
    let output = ''
    for (const stream of [child.stdout!, child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text) => {
        output += text
      })
    }
    const [code] = await once(child, 'close')
    return { code, output }
  }

  async script(text: string): Promise<void> {
    const curl = 'curl() { command curl --silent --show-error --fail "$@"; }'
    const { code, output } = await this.#run('bash', [
      '-euo',
      'pipefail',
      '-c',
      `${curl}\n${this.#adapt(text)}`,
    ])
    assert.equal(code, 0, `${text}${output}`)
  }

  async transcript(text: string): Promise<void> {
    for (const [, command, expected] of text.matchAll(/^\$ (.*)\n((?:(?!\$ ).*\n)*)/gm)) {
      const curl = 'curl() { command curl --silent --show-error "$@"; }'
      const { output } = await this.#run('bash', ['-c', `${curl}\n${this.#adapt(command)}`])
      const pattern = expected.trim().split('...').map(escapeRegExp).join('.*?')
      assert.match(output.replaceAll('\r', '').trim(), new RegExp(`^${pattern}$`, 's'), `$ ${command}`)
    }
  }

  /** Start a server. If only its settings are new, the page continues with the previous one. */
  async serve(command: string): Promise<void> {
    const [previous, previousPort] = [this.#server, this.port]
    this.port = await freePort()
    const child = this.#spawn('bash', ['-c', this.#adapt(command)])
    running.add(child)
    child.stdout!.resume()
    child.stderr!.resume()
    while (!(await fetch(`http://localhost:${this.port}/readyz`).catch(() => undefined))?.ok) {
      assert.equal(child.exitCode, null, command)
      await setTimeout(20)
    }
    if (previous && !command.includes('MODEL_DIR')) {
      await this.#stop(child)
      this.port = previousPort
      return
    }
    if (previous) await this.#stop(previous)
    this.#server = child
  }

  async program(text: string): Promise<void> {
    const port = await freePort()
    const isServer = text.includes('.listen(3000)')
    const check = `console.log((await fetch('http://localhost:${port}/digits/model')).status); process.exit()`
    const adapted = this.#adapt(text).replace('.listen(3000)', `.listen(${port})`)
    writeFileSync(join(this.folder, 'example.mjs'), isServer ? `${adapted}\n${check}` : adapted)
    const { code, output } = await this.#run(process.execPath, ['example.mjs'])
    assert.equal(code, 0, `${text}${output}`)
    const expected = isServer
      ? ['200']
      : [...text.matchAll(/console\.log\(.*\) \/\/ (.*)/g)].map(([, out]) => out)
    for (const line of expected) assert.ok(output.includes(line), `${line}: ${output}`)
  }

  async #stop(child: ChildProcess): Promise<void> {
    const exited = once(child, 'exit')
    kill(child, 'SIGTERM')
    await exited
    running.delete(child)
  }

  async close(): Promise<void> {
    if (this.#server) await this.#stop(this.#server)
    rmSync(this.folder, { recursive: true })
  }
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&')
}

async function runFence(shell: Shell, { language, text }: Fence): Promise<void> {
  if (language === 'js') return shell.program(text)
  if (text.startsWith('$ ')) return shell.transcript(text)
  const lines = text.trim().split('\n')
  const last = lines.at(-1)!
  if (!STARTS_SERVER.test(last)) return shell.script(text)
  if (lines.length > 1) await shell.script(lines.slice(0, -1).join('\n'))
  await shell.serve(last)
}

for (const page of PAGES) {
  test(`${page}: every command runs and prints what the page shows`, {
    skip: process.platform === 'win32' && 'the commands are for a POSIX shell',
  }, async (t) => {
    const fences = fencesOf(page).filter(({ language }) => language === 'sh' || language === 'js')
    if (fences.length === 0) return
    const shell = new Shell(page)
    t.after(() => shell.close())
    await shell.serve('npm start')
    for (const fence of fences) {
      await t.test(`line ${fence.line}`, () => runFence(shell, fence))
    }
  })

  test(`${page}: every fence that can run is run`, () => {
    const allowed = ['sh', 'js', 'json', 'console', 'python', 'dockerfile', 'yaml']
    for (const { language, text, line } of fencesOf(page)) {
      const at = `${page}:${line}`
      assert.ok(allowed.includes(language), `${at}: a fence of ${language || 'no language'}`)
      if (language === 'console') assert.match(text, NOT_HERE, `${at}: this can run: make it sh`)
      if (language === 'json' && !text.includes('...')) JSON.parse(text)
    }
  })
}

/** GitHub's anchors of a page's headings. */
function anchorsOf(file: string): Set<string> {
  const headings = withoutFences(readFileSync(join(ROOT, file), 'utf8')).matchAll(/^#+ (.*)$/gm)
  const slug = (heading: string) =>
    heading
      .replaceAll('`', '')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}_ -]/gu, '')
      .replaceAll(' ', '-')
  return new Set([...headings].map(([, heading]) => slug(heading)))
}

function withoutFences(text: string): string {
  return text.replace(/^```.*?^```$/gms, '')
}

for (const file of LINKED) {
  test(`${file}: relative links and anchors exist`, () => {
    const text = withoutFences(readFileSync(join(ROOT, file), 'utf8'))
    for (const [, target] of text.matchAll(/\]\(([^)\s]+)\)/g)) {
      if (/^https?:/.test(target)) continue
      const [path, anchor] = target.split('#')
      const linked = path === '' ? file : join(dirname(file), path)
      assert.ok(existsSync(join(ROOT, linked)), `${target}: there is no ${linked}`)
      if (anchor) assert.ok(anchorsOf(linked).has(anchor), `${target}: ${linked} has no such heading`)
    }
  })
}

test('the README is short, and shows a result in its first 15 lines', () => {
  const text = readFileSync(join(ROOT, 'README.md'), 'utf8')
  const words = text.split(/\s+/).length
  assert.ok(words >= 1000 && words <= 1400, `${words} words, expected 1,000 to 1,400`)
  const top = text.split('\n').slice(0, 15).join('\n')
  assert.match(top, /npm ci && npm start[\s\S]*curl [\s\S]*\{"label":"2"/)
})
