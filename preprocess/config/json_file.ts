/** JSON files of a model folder. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ConfigError } from '../errors.ts'

export type Json = Record<string, unknown>

/** A JSON file's object, and its path for errors. */
export interface JsonFile {
  path: string
  json: Json
}

/**
 * @param keepsNulls otherwise keys that are null are left out
 * @returns undefined if there is no such file
 * @throws ConfigError if it cannot be read, is not valid JSON, or not an object
 */
export function readJsonFile(path: string, keepsNulls = false): JsonFile | undefined {
  if (!existsSync(path)) return undefined
  let text: string
  try {
    text = readFileSync(path, 'utf8').replace(/^\ufeff/, '')
  } catch (cause) {
    throw new ConfigError(`${path} cannot be read: ${(cause as Error).message}`, { cause })
  }
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (cause) {
    const { message } = cause as Error
    const line = text.slice(0, errorOffset(text, message)).split('\n').length
    const [reason] = message.split(/(?: in JSON|,? (?:\.\.\.)?"| \(line)/)
    throw new ConfigError(`${path}, line ${line}: not valid JSON: ${reason}`, { cause })
  }
  if (json === null || typeof json !== 'object' || Array.isArray(json)) {
    throw new ConfigError(`${path}: expected a JSON object`)
  }
  return { path, json: keepsNulls ? (json as Json) : withoutNulls(json) }
}

/**
 * preprocessor_config.json, or `image_processor` of processor_config.json, which transformers 5 writes for a model of
 * images and text, and reads first.
 *
 * @throws ConfigError
 */
export function readPreprocessorFile(
  dir: string,
  note: (message: string) => void = () => {},
): JsonFile | undefined {
  const file = readJsonFile(join(dir, 'preprocessor_config.json'), true)
  const processor = readJsonFile(join(dir, 'processor_config.json'))
  if (!processor) return file
  const nested = processor.json.image_processor
  if (nested === null || typeof nested !== 'object') {
    note(`${processor.path} has no image_processor, and no effect`)
    return file
  }
  if (file)
    note(
      `${file.path} has no effect: image_processor of ${processor.path} takes precedence, as in transformers`,
    )
  return { path: `${processor.path}: image_processor`, json: nested as Json }
}

export function withoutNulls(object: object): Json {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== null))
}

/** Where JSON.parse gave up. Its message says so only for some errors, depending on the version of Node. */
function errorOffset(text: string, message: string): number {
  const position = /at position (\d+)/.exec(message)
  if (position) return Number(position[1])
  if (!isTokenError(message)) return text.length // the end came too early
  // the shortest beginning of the text that has the unexpected token
  let [without, withToken] = [0, text.length]
  while (withToken - without > 1) {
    const middle = (without + withToken) >> 1
    if (isTokenError(parseError(text.slice(0, middle)))) withToken = middle
    else without = middle
  }
  return without
}

function isTokenError(message: string): boolean {
  return message.startsWith('Unexpected token')
}

function parseError(text: string): string {
  try {
    JSON.parse(text)
    return ''
  } catch (error) {
    return (error as Error).message
  }
}
