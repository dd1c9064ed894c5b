/** A limit on the time and memory of parsed JSON: a list of 2 bytes becomes an object of 50. */
import { RequestError } from '../inference/errors.ts'

/** Parsing takes up to 0.5 s per million; 20 MB of brackets, 10 million lists, took 5 s. */
const MAX_CONTAINERS = 4_000_000

const QUOTE = 0x22
const BACKSLASH = 0x5c
const BRACKET = 0x5b
const BRACE = 0x7b

/**
 * Call it before JSON.parse.
 *
 * @throws RequestError 413 for more lists and objects than a tensor needs
 */
export function checkJsonSize(json: Uint8Array): void {
  const containers = countContainers(json)
  if (containers <= MAX_CONTAINERS) return
  throw new RequestError(
    413,
    `the JSON has ${containers} lists and objects; the limit is ${MAX_CONTAINERS}: send a tensor as a flat list with dims, or as bytes`,
  )
}

/** Lists and objects, except for brackets in strings. */
function countContainers(json: Uint8Array): number {
  let containers = 0
  let inString = false
  for (let i = 0; i < json.length; i++) {
    const byte = json[i]
    if (byte === QUOTE) inString = !inString
    else if (inString) i += byte === BACKSLASH ? 1 : 0
    else if (byte === BRACKET || byte === BRACE) containers++
  }
  return containers
}
