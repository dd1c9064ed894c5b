/** A server's process tree: start, pause, stop, processor time and memory. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Start } from './servers.ts'

const TICKS_PER_SECOND = 100

const IDLE_CHECK_MS = 500
const MAX_IDLE_CHECKS = 60
/** LitServe always uses a quarter of a core. */
const IDLE_CORES = 0.4

export interface Running {
  child: ChildProcess
  /** its last output, for errors */
  output: () => string
}

export function launch({ command, args, env = {}, cwd }: Start, folder: string): Running {
  const child = spawn(command, args, {
    cwd: cwd ?? folder,
    env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  started.add(child.pid!)
  let output = ''
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output = (output + text).slice(-4000)
    })
  }
  return { child, output: () => output }
}

/** Running processes, which must not outlive this program. */
const started = new Set<number>()
process.once('exit', () => {
  for (const pid of started) signal(processTree(pid), 'SIGKILL')
})
for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => process.exit(1))

function signal(pids: number[], name: NodeJS.Signals): void {
  for (const pid of pids) {
    try {
      process.kill(pid, name)
    } catch {
      // it has exited
    }
  }
}

/** Stop a server from using the processor until `resume`. */
export function pause({ child }: Running): void {
  signal(processTree(child.pid!), 'SIGSTOP')
}

export function resume({ child }: Running): void {
  signal(processTree(child.pid!), 'SIGCONT')
}

export async function stop({ child }: Running): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const tree = processTree(child.pid!)
  const exited = once(child, 'exit')
  child.kill('SIGTERM')
  const timer = setTimeout(() => child.kill('SIGKILL'), 5000)
  await exited
  clearTimeout(timer)
  signal(tree, 'SIGKILL')
  started.delete(child.pid!)
}

/** A process and its descendants. */
export function processTree(root: number): number[] {
  const parents = new Map<number, number[]>()
  for (const name of readdirSync('/proc')) {
    const pid = Number(name)
    const parent = pid && parentOf(pid)
    if (parent) parents.set(parent, [...(parents.get(parent) ?? []), pid])
  }
  const collect = (pid: number): number[] => [pid, ...(parents.get(pid) ?? []).flatMap(collect)]
  return collect(root)
}

function parentOf(pid: number): number | undefined {
  return Number(statOf(pid)?.[1])
}

/** The fields of /proc/PID/stat that follow the name: state, parent, ... */
function statOf(pid: number): string[] | undefined {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return text.slice(text.lastIndexOf(')') + 2).split(' ')
  } catch {
    return undefined // it has exited
  }
}

/** Processor time of a process tree so far, in seconds. */
export function cpuSeconds(root: number): number {
  const ticks = processTree(root).map((pid) => {
    const stat = statOf(pid)
    return stat ? Number(stat[11]) + Number(stat[12]) : 0
  })
  return ticks.reduce((a, b) => a + b, 0) / TICKS_PER_SECOND
}

/** The result of `work`, and how many cores a process tree uses meanwhile. */
export async function withCores<T>(
  root: number,
  work: () => Promise<T>,
): Promise<{ result: T; cores: number }> {
  const [startedAt, before] = [performance.now(), cpuSeconds(root)]
  const result = await work()
  return { result, cores: (1000 * (cpuSeconds(root) - before)) / (performance.now() - startedAt) }
}

/**
 * Wait until a server is idle: after its clients have left, it may go on computing what they had asked for, for up to four
 * seconds, and would slow the next one down.
 */
export async function untilIdle({ child }: Running): Promise<void> {
  for (let tries = 0; tries < MAX_IDLE_CHECKS; tries++) {
    const { cores } = await withCores(child.pid!, () => sleep(IDLE_CHECK_MS))
    if (cores < IDLE_CORES) return
  }
}

/** Memory of a process tree in MB (2^20 bytes); shared memory is counted once (PSS). */
export function memoryMb(root: number): number {
  const sizes = processTree(root).map((pid) => {
    try {
      return Number(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8').match(/^Pss:\s+(\d+)/m)?.[1] ?? 0)
    } catch {
      return 0
    }
  })
  return sizes.reduce((a, b) => a + b, 0) / 1024
}
