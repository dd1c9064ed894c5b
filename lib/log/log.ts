/** The log on standard output: JSON lines for machines, plain text on a terminal. A line may be lost, a request never. */
import { write } from 'node:fs'
import { isatty } from 'node:tty'
import { type Logger, pino } from 'pino'
import { LineWriter } from './line_writer.ts'

export type Log = Logger

const STDOUT = 1
const STDERR = 2

let writer: LineWriter | undefined

/** Log lines that this process could not write. */
export function droppedLines(): number {
  return writer?.dropped ?? 0
}

/** @param level lowest level that is written */
export async function createLog(level: string): Promise<Log> {
  const isTerminal = isatty(STDOUT)
  writer ??= openStdout()
  const { toTerminalLine } = isTerminal ? await import('./terminal_line.ts') : {}
  const log = pino({ level, base: undefined, hooks: { streamWrite: toTerminalLine } }, writer)
  writer.onRecovery = (dropped) => {
    log.warn({ dropped }, `${dropped} log lines were dropped: standard output was blocked`)
  }
  return log
}

function openStdout(): LineWriter {
  // Node sets a pipe to non-blocking when it makes this stream; a write that blocks would keep the process from ending
  void process.stdout
  const stdout = new LineWriter(STDOUT)
  stdout.onFailure = ({ message }) => {
    const text = `onnxpress: the log cannot be written to standard output: ${message}; requests are still served\n`
    write(STDERR, text, () => {})
  }
  return stdout
}
