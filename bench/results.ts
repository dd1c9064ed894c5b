/** The results of bench/peers.ts in results.jsonl: a line about the run, then one per workload and per server. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import type { Workload } from './workloads.ts'

/** One server at one number of connections; the lists have a value per round. */
export interface ClosedLoop {
  connections: number
  perSecond: number[]
  p50Ms: number[]
  p99Ms: number[]
  /** failed requests of all rounds */
  errors: number
  /** processor seconds of all its processes per second */
  cores: number[]
}

/** One server at a share of its best rate: latencies of requests that do not wait for each other. */
export interface OpenLoop {
  share: number
  perSecond: number
  p50Ms: number
  p99Ms: number
  errors: number
}

/** One server at the load that all servers get: half of the best peer's rate. */
export interface EqualLoad {
  perSecond: number
  /** a value per round, or one for all rounds where a round has few requests */
  p50Ms: number[]
  p99Ms: number[]
  /** failed requests of all rounds */
  errors: number
}

export interface Measured {
  contender: string
  /** from the start to the first correct response, in milliseconds */
  startMs: number
  closed: ClosedLoop[]
  open: OpenLoop[]
  /** undefined if the server cannot reach it, or no peer was measured */
  equal?: EqualLoad
  /** after all measurements */
  memoryMb: number
}

interface Run {
  machine: string
  versions: Record<string, string>
  installedMb: Record<string, number>
}

/** A workload as it was on the day of the measurement. */
interface MeasuredWorkload extends Workload {
  date: string
  /** what disturbed the measurement or sets it apart, written by hand */
  note?: string
}

export interface Results extends Run {
  workloads: { workload: MeasuredWorkload; measured: Measured[] }[]
}

const FILE = new URL('results.jsonl', import.meta.url)

/** @returns undefined if there are none */
export function readResults(): Results | undefined {
  if (!existsSync(FILE)) return undefined
  const [run, ...lines] = readFileSync(FILE, 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  const workloads: Results['workloads'] = []
  for (const line of lines) {
    if ('contender' in line) workloads.at(-1)?.measured.push(line)
    else workloads.push({ workload: line, measured: [] })
  }
  return { ...run, workloads }
}

export function writeResults({ workloads, ...run }: Results): void {
  const lines = [run, ...workloads.flatMap(({ workload, measured }) => [workload, ...measured])]
  writeFileSync(FILE, lines.map((line) => `${JSON.stringify(line)}\n`).join(''))
}
