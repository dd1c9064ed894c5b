/** Checked values of the keys that transformers' and timm's files share. */
import { ConfigError } from '../errors.ts'
import type { JsonFile } from './json_file.ts'

/** The error for a key whose value is missing or wrong. */
export function invalidKey(file: JsonFile, key: string, received: unknown, expected: string): ConfigError {
  return new ConfigError(`${file.path}: ${key} is ${shorten(received)}, expected ${expected}`)
}

/** A number of pixels. */
export function pixelCount(file: JsonFile, key: string, value: unknown): number {
  if (Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 65536) return value as number
  throw invalidKey(file, key, value, 'a whole number of pixels, 1 to 65536')
}

/** One number per channel; a single number counts for all. */
export function perChannel(file: JsonFile, key: string, value: unknown, channels: number): number[] {
  const list = typeof value === 'number' ? new Array<number>(channels).fill(value) : value
  const isList = Array.isArray(list) && list.every((item) => typeof item === 'number')
  if (isList && list.length === channels) return list
  throw invalidKey(file, key, value, `a number or a list of ${channels}, one per channel of the model`)
}

/** `perChannel` for a standard deviation. */
export function divisors(file: JsonFile, key: string, value: unknown, channels: number): number[] {
  const list = perChannel(file, key, value, channels)
  if (list.includes(0)) throw invalidKey(file, key, value, 'numbers other than 0')
  return list
}

/**
 * One of several words.
 *
 * @param received the value as the file has it, for the error
 * @param others more of what is expected
 */
export function oneOf<Word extends string>(
  file: JsonFile,
  key: string,
  value: unknown,
  words: readonly Word[],
  received = value,
  others = '',
): Word {
  const word = words.find((candidate) => candidate === value)
  if (word) return word
  throw invalidKey(file, key, received, `${words.join(', ')}${others}`)
}

/** Whose order of axes a resize has: `pillow_version` is a major version, of which only 13 and later differ. */
export function readPillowVersion(file: JsonFile): { isPillow13?: true } {
  const version = file.json.pillow_version ?? 12
  if (!Number.isInteger(version) || (version as number) < 1)
    throw invalidKey(file, 'pillow_version', version, 'the major version of Pillow, such as 12 or 13')
  return (version as number) >= 13 ? { isPillow13: true } : {}
}

/** Note a mean that is in levels while the image is not. */
export function checkMean(
  file: JsonFile,
  key: string,
  mean: number[],
  factor: number | undefined,
  note: (message: string) => void,
): void {
  if (factor === undefined || factor > 1 / 2 || !mean.some((value) => Math.abs(value) > 1)) return
  note(
    `${file.path}: ${key} is ${shorten(mean)}, but the image is multiplied by ${shorten(factor)} first: ` +
      'if the mean is of levels up to 255, divide it and the standard deviation by 255',
  )
}

function shorten(value: unknown): string {
  try {
    const text = JSON.stringify(value) ?? 'missing'
    return text.length > 100 ? `${text.slice(0, 100)}...` : text
  } catch {
    return 'nested too deep'
  }
}
