import assert from 'node:assert/strict'
import { test } from 'node:test'
import { RequestError, WorkerDied } from '../lib/inference/errors.ts'
import type { Session } from '../lib/inference/session.ts'
import type { Tensor, TensorSpec } from '../lib/inference/tensor.ts'
import { withSelfTest } from '../lib/model/self_test.ts'

const spec = (name: string): TensorSpec => ({ name, dtype: 'float32', dims: ['n', 2] })
const graph = { input: spec('x'), outputs: [spec('y')], fixedBatch: undefined }
const batch = (...data: number[]): Tensor => ({
  dtype: 'float32',
  dims: [data.length / 2, 2],
  data: Float32Array.from(data),
})

/** A session that fails on some inputs, and counts its restarts. */
function fakeSession(failureOn: (input: Tensor) => Error | undefined) {
  const counts = { runs: 0, restarts: 0 }
  const session: Session = {
    device: 'cuda',
    inputs: [],
    outputs: [],
    isRunning: true,
    async run(input) {
      counts.runs++
      const failure = failureOn(input)
      if (failure) throw failure
      return [input]
    },
    useThreads: () => assert.fail(),
    async restart() {
      counts.restarts++
    },
    close: () => assert.fail(),
  }
  return { counts, run: withSelfTest({ session, graph, sampleDims: [2] }) }
}

const failure = new RequestError(400, 'the model failed on this input')

test("an input that the graph fails on is the client's fault, and zeros are not run for each of them", async () => {
  const { counts, run } = fakeSession(({ data }) => (data[0] === 7 ? failure : undefined))
  assert.deepEqual(await run(batch(1, 2), ['y']), [batch(1, 2)])
  for (let i = 0; i < 5; i++) await assert.rejects(run(batch(7, 0), ['y']), failure)
  assert.deepEqual(counts, { runs: 7, restarts: 0 })
})

test('a session that fails on zeros, too, is restarted, and its batch can be run again', async () => {
  const { counts, run } = fakeSession(() => failure)
  await assert.rejects(run(batch(1, 2), ['y']), WorkerDied)
  assert.deepEqual(counts, { runs: 2, restarts: 1 })
})

test('a session whose thread has died restarts by itself', async () => {
  const died = new WorkerDied('the inference worker ended')
  const { counts, run } = fakeSession(() => died)
  await assert.rejects(run(batch(1, 2), ['y']), died)
  assert.deepEqual(counts, { runs: 1, restarts: 0 })
})
