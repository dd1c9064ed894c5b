/** JSON with 64-bit integers, whose last digits JSON.parse would round. */
import { randomUUID } from 'node:crypto'
import { parseJson } from '../../lib/input/json_body.ts'
import { describe } from '../../lib/input/nested_lists.ts'

/** Marks integers of 16 digits or more; clients cannot know it. */
const MARK = `${randomUUID()}:`

/** The same JSON twice. */
export interface ExactJson {
  /** as JSON.parse reads it */
  json: unknown
  /** with integers of 16 digits or more as marked strings */
  exact: unknown
}

/** @throws RequestError 400 when it is not JSON */
export function parseExactly(text: string, what: string): ExactJson {
  const json = parseJson(text, what)
  if (!/\d{16}/.test(text)) return { json, exact: json }
  let inString = false
  const marked = text.replace(/\\.|"|(?<=[[,\s])-?\d{16,20}(?=[\s,\]])/gs, (found) => {
    if (found === '"') inString = !inString
    else if (!inString && found[0] !== '\\') return `"${MARK}${found}"`
    return found
  })
  if (marked === text) return { json, exact: json }
  return { json, exact: JSON.parse(marked) }
}

/** Whether a value of `exact` is a marked integer. */
export function isLongInteger(value: unknown): value is string {
  return typeof value === 'string' && value.startsWith(MARK)
}

/** The digits of a marked integer. */
export function digitsOf(value: string): string {
  return value.slice(MARK.length)
}

/** A value as the client wrote it, in a few words. */
export function showValue(value: unknown): string {
  return isLongInteger(value) ? digitsOf(value) : describe(value)
}
