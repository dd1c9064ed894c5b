/** The log: JSON lines for machines, words on a terminal. */
import { destination, type Logger, pino } from 'pino'

export type Log = Logger

/**
 * Lines are written some at a time, at most as many milliseconds late, which costs a busy server much less than each on
 * its own; what is logged when the process ends must be flushed.
 */
const LATE_MS = 50

/** @param level least level that is written */
export async function createLog(level: string): Promise<Log> {
  const options = { level, base: undefined, formatters: { log: roundTimes } }
  if (!process.stdout.isTTY) {
    return pino(options, destination({ sync: false, minLength: 4096, periodicFlush: LATE_MS }))
  }
  const { default: pretty } = await import('pino-pretty')
  return pino(options, pretty({ ignore: 'pid,hostname' }))
}

/** Milliseconds to the microsecond: more digits are noise. */
function roundTimes(line: Record<string, unknown>): Record<string, unknown> {
  for (const [key, value] of Object.entries(line)) {
    if (typeof value === 'number' && /ms$/i.test(key)) line[key] = Math.round(value * 1000) / 1000
  }
  return line
}
