/** The real process, over real HTTP, on a free port. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('..', import.meta.url))

if (existsSync(join(ROOT, '.env')))
  throw new Error(`the settings in ${join(ROOT, '.env')} would change what is tested: rename it meanwhile`)

export interface RunningServer {
  url: string
  process: ChildProcess
  /** every line of the log so far */
  log: string[]
  /** Send SIGTERM. @returns the exit code */
  stop(): Promise<number | null>
}

interface Options {
  env?: Record<string, string>
  /** the arguments of `node` */
  args?: string[]
  cwd?: string
  /** in its own process group */
  detached?: boolean
}

const running = new Set<ChildProcess>()
// a failed test does not stop its server, which would keep the runner waiting forever
process.once('exit', () => {
  for (const child of running) child.kill('SIGKILL')
})

/** The environment without the variables that a developer's shell may have set for a server. */
function cleanEnv(env: Record<string, string>): Record<string, string | undefined> {
  return { PATH: process.env.PATH, HOME: process.env.HOME, PORT: '0', ...env }
}

/** A free port, for a program that cannot choose one itself. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

/** Start the server and wait for the log line with its address. */
export async function startServer({
  env = {},
  args = ['server.js'],
  cwd = ROOT,
  detached = false,
}: Options = {}): Promise<RunningServer> {
  const stdio = ['ignore', 'pipe', 'pipe'] as ['ignore', 'pipe', 'pipe']
  const child = spawn(process.execPath, args, { cwd, detached, env: cleanEnv(env), stdio })
  running.add(child)
  const log: string[] = []
  const exited = once(child, 'exit')
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text
  })
  const url = await new Promise<string>((resolve, reject) => {
    createInterface(child.stdout).on('line', (line) => {
      log.push(line)
      const found = line.match(/serving .* at (http:\S+?)"/)
      if (found) resolve(found[1])
    })
    child.once('exit', (code) => reject(new Error(`the server ended with code ${code}: ${stderr}`)))
  })
  for (const handle of [child, child.stdout as Socket, child.stderr as Socket]) handle.unref()
  return {
    url,
    process: child,
    log,
    async stop() {
      child.ref()
      child.kill('SIGTERM')
      const [code] = await exited
      return code
    },
  }
}

/** Run a program until it exits. */
export async function run(args: string[], env: Record<string, string> = {}, cwd = ROOT) {
  const child = spawn(process.execPath, args, { cwd, env: cleanEnv(env), stdio: ['ignore', 'pipe', 'pipe'] })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text) => {
    stderr += text
  })
  const [code] = await once(child, 'close')
  return { code: code as number | null, stdout, stderr }
}
