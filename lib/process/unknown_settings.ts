/** Variables that are no settings, but look as if they were meant to be. */
import { nearest } from '../inference/nearest.ts'
import { SETTINGS } from './settings.ts'

type Variables = Record<string, string | undefined>

const NAMES = [...Object.keys(SETTINGS), 'AIP_HTTP_PORT']

/**
 * @param env the environment, where others have variables too: only what is very near counts
 * @param file the variables of .env
 * @returns a line for each
 */
export function unknownSettings(env: Variables, file: Variables): string[] {
  const inFile = Object.keys(file).map((name) => [name, nearest(name, NAMES, 2)])
  const inEnv = Object.keys(env)
    .filter((name) => !Object.hasOwn(file, name))
    .map((name) => [name, nearest(name, NAMES, 1)])
    // Windows takes names in any case for one; PORTS and DEVICES are other people's
    .filter(([name, right]) => right && env[right] !== env[name!] && name !== `${right}S`)
  return [...inFile, ...inEnv]
    .filter(([, right]) => right)
    .map(([name, right]) => `${name} is not a setting: did you mean ${right}?`)
}
