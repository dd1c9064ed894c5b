/** Schemas of requests: requests are checked with them, and the OpenAPI document is made from them. */
import * as v from 'valibot'
import { RequestError } from '../inference/errors.ts'
import { MAX_RANK } from './nested_lists.ts'

/** A list whose items are checked later: there can be millions. */
export const ListSchema = v.custom<unknown[]>(Array.isArray, 'a list')

/** A list whose length is checked first: millions of items must not be checked one by one. */
export function shortList<S extends v.GenericSchema>(
  item: S,
  max = 100,
  expected = `a list of up to ${max}`,
) {
  const isShort = (value: unknown) => Array.isArray(value) && value.length <= max
  return v.pipe(v.custom<v.InferInput<S>[]>(isShort, expected), v.array(item))
}

export const DimsSchema = shortList(
  v.pipe(v.number(), v.safeInteger(), v.minValue(1)),
  MAX_RANK,
  `up to ${MAX_RANK} whole numbers of at least 1, such as [1,28,28]`,
)

/** An object (not a list) with these keys; others are dropped. */
export function record<E extends v.ObjectEntries>(entries: E, expected = 'an object') {
  const isRecord = (value: unknown) => value !== null && typeof value === 'object' && !Array.isArray(value)
  return v.pipe(v.custom<Record<string, unknown>>(isRecord, expected), v.object(entries))
}

/**
 * Check JSON against a schema.
 *
 * @param what its name in errors
 * @param example of it, for the error about a missing key
 * @throws RequestError 400 naming the key, what was received and what was expected
 */
export function checkSchema<S extends v.GenericSchema>(
  schema: S,
  json: unknown,
  what: string,
  example?: string,
): v.InferOutput<S> {
  const result = v.safeParse(schema, json, { abortEarly: true, abortPipeEarly: true })
  if (result.success) return result.output
  const [issue] = result.issues
  const { received, expected, message } = issue
  const key = v.getDotPath(issue) || what
  const fix = example ? `: send ${example}` : ''
  if (received === 'undefined') throw new RequestError(400, `${key} is missing in ${what}${fix}`)
  // the library's own messages begin with this word; ours say what was expected
  const wanted = message.startsWith('Invalid') ? expected : message
  throw new RequestError(400, `${key} is ${received.slice(0, 40)}, expected ${wanted}`)
}
