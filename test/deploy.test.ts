import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { NO_NGINX, startNginx } from './nginx.ts'
import { ROOT, startServer } from './running_server.ts'

test('one of three replicas behind nginx is killed under load: no request fails', {
  skip: NO_NGINX,
}, async (t) => {
  const replicas = await Promise.all([1, 2, 3].map(() => startServer()))
  const nginx = await startNginx(replicas.map(({ url }) => new URL(url).host))
  t.after(async () => {
    await nginx.stop()
    for (const { process } of replicas) process.kill('SIGKILL')
  })
  const body = readFileSync(join(ROOT, 'models/mnist/sample.png'))
  const outcomes: string[] = []
  let isOver = false
  const clients = Array.from({ length: 8 }, async () => {
    while (!isOver) {
      const response = await fetch(`${nginx.url}/predict`, { method: 'POST', body })
      outcomes.push(`${response.status} ${((await response.json()) as { label?: string }).label}`)
    }
  })
  const until = async (count: number) => {
    while (outcomes.length < count) await setTimeout(5)
  }
  await until(100)
  const killed = once(replicas[1].process, 'exit')
  replicas[1].process.kill('SIGKILL')
  await killed
  await until(outcomes.length + 300)
  isOver = true
  await Promise.all(clients)
  assert.deepEqual([...new Set(outcomes)], ['200 2'])
})
