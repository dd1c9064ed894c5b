/** The log: JSON lines for machines, words on a terminal. */
import { type Logger, pino } from 'pino'

export type Log = Logger

/** @param level least level that is written */
export async function createLog(level: string): Promise<Log> {
  if (!process.stdout.isTTY) return pino({ level, base: undefined })
  const { default: pretty } = await import('pino-pretty')
  return pino({ level, base: undefined }, pretty({ ignore: 'pid,hostname' }))
}
