/** The version of this server, as package.json has it. */
import { createRequire } from 'node:module'

export const { version }: { version: string } = createRequire(import.meta.url)('../../package.json')
