/** Tensors in JSON: nested lists of equal depth and, at each depth, of equal length. */
import { RequestError } from '../inference/errors.ts'
import { sizeOf } from '../inference/tensor.ts'

export const MAX_RANK = 8

/**
 * The dims of nested lists, taken from the first list at each depth; [] for a value that is not a list.
 *
 * @throws RequestError 400 for an empty list, or too many levels
 */
export function nestingOf(data: unknown): number[] {
  const dims: number[] = []
  for (let list = data; Array.isArray(list); list = list[0]) {
    if (dims.length === MAX_RANK)
      throw new RequestError(400, `the data is nested deeper than ${MAX_RANK} lists`)
    if (list.length === 0) throw new RequestError(400, 'the data has an empty list: send values')
    dims.push(list.length)
  }
  return dims
}

/**
 * The values in row-major order.
 *
 * @param nesting from `nestingOf`
 * @param kind what is expected, such as "a number"
 * @param read converts a value; undefined for one of another kind
 * @param show a value in a few words, for errors
 * @throws RequestError 400 where the lists are ragged or a value is of another kind
 */
export function flatten<T>(
  data: unknown,
  nesting: number[],
  kind: string,
  read: (value: unknown) => T | undefined,
  show = describe,
): T[] {
  const flat: T[] = []
  const visit = (item: unknown, depth: number): void => {
    if (depth < nesting.length) {
      if (!Array.isArray(item) || item.length !== nesting[depth]) {
        throw new RequestError(
          400,
          `the data is ragged: ${show(item)} where a list of ${nesting[depth]} was expected`,
        )
      }
      for (const inner of item) visit(inner, depth + 1)
      return
    }
    const value = read(item)
    if (value === undefined) {
      throw new RequestError(
        400,
        `the data has ${show(item)} where ${kind} was expected: it is ragged, or has other values`,
      )
    }
    flat.push(value)
  }
  visit(data, 0)
  return flat
}

/** Values in row-major order as nested lists: the inverse of `flatten`. */
export function nest(values: unknown[], [length, ...rest]: readonly number[]): unknown[] {
  if (rest.length === 0) return values
  const size = sizeOf(rest)
  return Array.from({ length }, (_, i) => nest(values.slice(i * size, (i + 1) * size), rest))
}

/** A JSON value in a few words. */
export function describe(value: unknown): string {
  if (Array.isArray(value)) return `a list of ${value.length}`
  if (value !== null && typeof value === 'object') return 'an object'
  return JSON.stringify(typeof value === 'string' ? value.slice(0, 40) : value)
}
