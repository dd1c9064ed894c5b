/** Variables that look like mistyped settings. */
import { nearest } from '../../preprocess/index.ts'
import { SETTINGS } from './settings.ts'

type Variables = Record<string, string | undefined>

const NAMES = [...Object.keys(SETTINGS), 'AIP_HTTP_PORT']

/**
 * @param env the environment; other programs have variables there too, so only very similar names count
 * @param file the variables of .env
 * @returns one line per variable
 */
export function unknownSettings(env: Variables, file: Variables): string[] {
  const inFile = Object.keys(file).map((name) => [name, nearest(name, NAMES, 2)])
  const inEnv = Object.keys(env)
    .filter((name) => !Object.hasOwn(file, name))
    .map((name) => [name, nearest(name, NAMES, 1)])
    // on Windows, names that differ in case are one variable; PORTS and DEVICES belong to other programs
    .filter(([name, right]) => right && env[right] !== env[name!] && name !== `${right}S`)
  return [...inFile, ...inEnv]
    .filter(([, right]) => right)
    .map(([name, right]) => `${name} is not a setting: did you mean ${right}?`)
}
