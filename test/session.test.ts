import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { Batcher } from '../lib/batcher.ts'
import { startSession } from '../lib/session.ts'
import type { Tensor } from '../lib/tensor.ts'
import { ROOT } from './running_server.ts'

const modelPath = join(ROOT, 'test/fixtures/models/linear/model.onnx')
const five = (): Tensor => ({ dtype: 'float32', dims: [1, 1], data: Float32Array.of(5) })

test('a session runs, also with other threads, and fails on what the graph cannot take', async () => {
  const session = await startSession({ modelPath, devices: ['cpu'], threads: 2 })
  assert.equal((await session.run([five()], ['y']))[0].data[0], 9)
  await session.useThreads(1)
  assert.equal((await session.run([five()], ['y']))[0].data[0], 9)
  const wide: Tensor = { dtype: 'float32', dims: [1, 2], data: Float32Array.of(5, 6) }
  await assert.rejects(session.run([wide], ['y']), { status: 400 })
  await session.close()
})

test('when the worker is gone, what waits and what comes is told so, and nothing hangs', async () => {
  const session = await startSession({ modelPath, devices: ['cpu'], threads: 1 })
  const batcher = new Batcher(session.run, { maxBatchSize: 1, isFixed: false, maxDelayMs: 0, maxQueue: 10 })
  const underWay = [1, 2, 3].map(() => assert.rejects(batcher.predict([five()], ['y']), /worker ended/))
  await session.close()
  await Promise.all(underWay)
  await assert.rejects(batcher.predict([five()], ['y']), /worker ended/)
})
