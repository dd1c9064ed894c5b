/**
 * Deploys under load, behind a real nginx (Debian: apt install nginx): npm run bench:deploys [-- TIMES]
 *
 * Reloads the model of two servers 20 times (SIGHUP), then restarts each server 20 times, one after the other.
 * No request may fail.
 */
import { setTimeout } from 'node:timers/promises'
import { startNginx } from '../test/nginx.ts'
import { startServer } from '../test/running_server.ts'
import { send } from './open_loop.ts'
import { TENSOR_FORM } from './payloads.ts'

const TIMES = Number(process.argv[2] ?? 20)
const CLIENTS = 16
const PORTS = [18891, 18892]

const start = (port: number) => startServer({ env: { PORT: String(port), DRAIN_MS: '300' } })
const servers = await Promise.all(PORTS.map(start))
const nginx = await startNginx(PORTS.map((port) => `127.0.0.1:${port}`))

let isOver = false
const statuses = new Map<number, number>()
const clients = Array.from({ length: CLIENTS }, async () => {
  while (!isOver) {
    const { status } = await send(nginx.url, TENSOR_FORM)
    statuses.set(status, (statuses.get(status) ?? 0) + 1)
  }
})
const answered = () => [...statuses.values()].reduce((a, b) => a + b, 0)
const report = (title: string, before: number) => {
  const counts = [...statuses].map(([status, count]) => `${status}: ${count}`).join(', ')
  console.log(`${title}: ${answered() - before} requests meanwhile; statuses so far: ${counts}`)
}

let before = answered()
for (let i = 0; i < TIMES; i++) {
  for (const server of servers) {
    const reloads = () => server.log.filter((line) => line.includes('reloaded')).length
    const previous = reloads()
    server.process.kill('SIGHUP')
    while (reloads() === previous) await setTimeout(20)
  }
}
report(`${TIMES} reloads of both processes`, before)

before = answered()
for (let i = 0; i < TIMES; i++) {
  for (const [index, port] of PORTS.entries()) {
    await servers[index].stop()
    servers[index] = await start(port)
  }
}
report(`${TIMES} restarts of each process`, before)

isOver = true
await Promise.all(clients)
await nginx.stop()
await Promise.all(servers.map((server) => server.stop()))
const failed = answered() - (statuses.get(200) ?? 0)
console.log(`failed: ${failed} of ${answered()}`)
process.exit(failed === 0 ? 0 : 1)
