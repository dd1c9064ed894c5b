/** The keys that a model folder's files may have. An unknown key is noted, never silently ignored. */
import { readFileSync } from 'node:fs'
import type { JsonFile } from './json_file.ts'
import { nearest } from './nearest.ts'

/** Every key that transformers and timm write, by file; written by test/fixtures/make_known_keys.py from the libraries. */
export const KNOWN_KEYS: Record<'preprocessor' | 'pretrained_cfg' | 'config', readonly string[]> = JSON.parse(
  readFileSync(new URL('known_keys.json', import.meta.url), 'utf8'),
)

/**
 * Note each key that has no effect, with the nearest one that has.
 *
 * @param served keys that have an effect
 * @param ignored keys that are known and need none, such as the model's own
 * @param note called with one line per key
 */
export function noteUnknownKeys(
  { path, json }: JsonFile,
  served: readonly string[],
  ignored: readonly string[],
  note: (message: string) => void,
): void {
  for (const key of Object.keys(json)) {
    if (served.includes(key) || ignored.includes(key)) continue
    const near = nearest(key, served)
    note(`${path}: ${key} has no effect${near ? `: did you mean ${near}?` : ''}`)
  }
}
