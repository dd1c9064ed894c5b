import assert from 'node:assert/strict'
import { join } from 'node:path'
import { test } from 'node:test'
import { startSession } from '../lib/inference/session.ts'
import type { Tensor } from '../lib/inference/tensor.ts'
import { ROOT } from './running_server.ts'

const modelPath = join(ROOT, 'test/fixtures/models/linear/model.onnx')
const five = (): Tensor => ({ dtype: 'float32', dims: [1, 1], data: Float32Array.of(5) })

test('a session runs, even after a change of threads, and fails on input that the graph does not accept', async () => {
  const session = await startSession({ modelPath, devices: ['cpu'], threads: 2 }, assert.fail, assert.fail)
  assert.equal(session.isRunning, true)
  assert.equal((await session.run(five(), ['y']))[0].data[0], 9)
  await session.useThreads(1)
  assert.equal((await session.run(five(), ['y']))[0].data[0], 9)
  const wide: Tensor = { dtype: 'float32', dims: [1, 2], data: Float32Array.of(5, 6) }
  await assert.rejects(session.run(wide, ['y']), { status: 400 })
  await session.close()
})

test('a session that is restarted finishes its runs, and runs again with the same number of threads', async () => {
  const alive = setInterval(() => {}, 1000) // the restart alone would not keep this process running
  const causes: string[] = []
  const onExit = ({ message }: Error) => causes.push(message)
  const session = await startSession({ modelPath, devices: ['cpu'], threads: 1 }, onExit, assert.fail)
  const pending = [1, 2, 3].map(() => session.run(five(), ['y']))
  await session.restart()
  for (const outputs of await Promise.all(pending)) assert.equal(outputs[0].data[0], 9)
  assert.deepEqual(causes, ['the inference worker ended with code 0'])
  assert.equal((await session.run(five(), ['y']))[0].data[0], 9)
  await session.close()
  clearInterval(alive)
})

test('a closed session finishes its run, accepts no more, and is not restarted', async () => {
  const session = await startSession({ modelPath, devices: ['cpu'], threads: 1 }, assert.fail, assert.fail)
  const pending = [1, 2, 3].map(() => session.run(five(), ['y']))
  const closed = session.close()
  await assert.rejects(session.run(five(), ['y']), { status: 503 })
  for (const outputs of await Promise.all(pending)) assert.equal(outputs[0].data[0], 9)
  await closed
  assert.equal(session.isRunning, false)
})
