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
  const options = { level, base: undefined }
  if (!process.stdout.isTTY) {
    return pino(options, destination({ sync: false, minLength: 4096, periodicFlush: LATE_MS }))
  }
  const { default: pretty } = await import('pino-pretty')
  return pino(options, pretty({ ignore: 'pid,hostname' }))
}
