/** The container's health check, without curl: exits with 0 if the server is ready. */
import { readFileSync } from 'node:fs'
import { isIPv6 } from 'node:net'
import dotenv from 'dotenv'
import { readCommand } from './command_line.ts'
import { readSettings } from './settings.ts'

dotenv.config({ quiet: true })
// the server is the container's first process, or the argument of docker's init; its arguments may include a port
const command = readFileSync('/proc/1/cmdline', 'utf8').split('\0').slice(0, -1)
const program = command.indexOf('server.js')
const { env, port } = readCommand(program < 0 ? [] : command.slice(program + 1))
const { HOST, PORT } = readSettings({ ...process.env, ...env }, port)
const host = HOST === '0.0.0.0' || HOST === '::' ? 'localhost' : HOST
const name = isIPv6(host) ? `[${host}]` : host
const isReady = await fetch(`http://${name}:${PORT}/readyz`).then(
  ({ ok }) => ok,
  () => false,
)
process.exit(isReady ? 0 : 1)
