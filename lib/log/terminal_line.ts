/** A log line for people: `10:23:45.123 INFO  serving mnist on cpu at http://127.0.0.1:8890`. */
import { styleText } from 'node:util'

const LEVELS: Record<number, string> = {
  10: 'TRACE',
  20: 'DEBUG',
  30: 'INFO ',
  40: 'WARN ',
  50: 'ERROR',
  60: 'FATAL',
}

interface LogLine {
  level: number
  time: number
  msg?: string
  err?: { message: string; stack?: string }
  [field: string]: unknown
}

/** @param json one line as pino writes it */
export function toTerminalLine(json: string): string {
  const { level, time, msg = '', err, ...fields } = JSON.parse(json) as LogLine
  const date = new Date(time)
  const clock = `${date.toTimeString().slice(0, 8)}.${String(date.getMilliseconds()).padStart(3, '0')}`
  const words = [clock, styled(level, LEVELS[level] ?? String(level)), printable(msg)]
  for (const [name, value] of Object.entries(fields)) words.push(`${name}=${fieldText(value)}`)
  const stack = err?.stack ?? err?.message
  if (stack) words.push(`\n${stack.split('\n').map(printable).join('\n')}`)
  return `${words.join(' ')}\n`
}

function styled(level: number, name: string): string {
  if (level < 40 || process.env.NO_COLOR) return name
  return styleText(level < 50 ? 'yellow' : 'red', name)
}

/** Bare if it is one word, quoted otherwise: a client must not be able to forge a field or a line. */
function fieldText(value: unknown): string {
  if (typeof value === 'string' && /^[\w.:/+@%?&-]+$/.test(value)) return value
  return printable(JSON.stringify(value))
}

/** Without control characters, which a terminal would execute. */
function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, ' ')
}
