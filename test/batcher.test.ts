import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import { Interest } from '../lib/http/context.ts'
import { Batcher, type BatcherOptions, type JobTrace } from '../lib/inference/batcher.ts'
import { RequestError, WorkerDied } from '../lib/inference/errors.ts'
import type { AnyTensor, Tensor } from '../lib/inference/tensor.ts'

const OPTIONS: BatcherOptions = { maxBatchSize: 4, isFixed: false, maxDelayMs: 0 }

const trace = (interest = new Interest()): JobTrace => ({ interest })

/** A model that sums each sample and says its first number as text; it remembers the size of each batch. */
function fakeModel(batches: number[] = []) {
  return async ([input]: AnyTensor[], outputs: readonly string[]): Promise<AnyTensor[]> => {
    const [n, ...rest] = input.dims
    batches.push(n)
    await setImmediate()
    const length = rest.reduce((a, b) => a * b, 1)
    const rows = Array.from({ length: n }, (_, i) =>
      Array.from(input.data as Float32Array).slice(i * length, (i + 1) * length),
    )
    const sums = rows.map((row) => row.reduce((a, b) => a + b, 0))
    const results: Record<string, AnyTensor> = {
      sum: { dtype: 'float32', dims: [n], data: Float32Array.from(sums) },
      text: { dtype: 'string', dims: [n, 1], data: rows.map((row) => `first ${row[0]}`) },
    }
    return outputs.map((name) => results[name])
  }
}

function tensor(samples: number[][]): Tensor {
  return {
    dtype: 'float32',
    dims: [samples.length, samples[0].length],
    data: Float32Array.from(samples.flat()),
  }
}

function expected(samples: number[][], outputs: readonly string[]) {
  const results: Record<string, unknown[]> = {
    sum: samples.map((row) => row.reduce((a, b) => a + b, 0)),
    text: samples.map((row) => `first ${row[0]}`),
  }
  return outputs.map((name) => results[name])
}

const requests = fc.array(
  fc.integer({ min: 1, max: 3 }).chain((width) =>
    fc.array(fc.array(fc.integer({ min: -1000, max: 1000 }), { minLength: width, maxLength: width }), {
      minLength: 1,
      maxLength: 11,
    }),
  ),
  { minLength: 1, maxLength: 12 },
)

const WANTED = [['sum'], ['sum', 'text'], ['text']]

test('any mix of single samples, batches, shapes and outputs gets its own answers', async () => {
  const options = fc.record({ maxBatchSize: fc.integer({ min: 1, max: 5 }), isFixed: fc.boolean() })
  await fc.assert(
    fc.asyncProperty(requests, options, async (mix, { maxBatchSize, isFixed }) => {
      const batches: number[] = []
      const batcher = new Batcher(fakeModel(batches), { ...OPTIONS, maxBatchSize, isFixed })
      const answers = await Promise.all(
        mix.map(async (samples, index) => {
          if (index % 3 === 2) await setImmediate() // some arrive while others run
          return batcher.predict([tensor(samples)], WANTED[(index + samples.length) % 3], trace())
        }),
      )
      answers.forEach((outputs, index) => {
        assert.deepEqual(
          outputs.map(({ data }) => Array.from<unknown>(data as string[])),
          expected(mix[index], WANTED[(index + mix[index].length) % 3]),
        )
        for (const { dims } of outputs) assert.equal(dims[0], mix[index].length)
      })
      assert.ok(batches.every((size) => (isFixed ? size === maxBatchSize : size <= maxBatchSize)))
      assert.equal(batcher.waiting, 0)
    }),
    { numRuns: 200 },
  )
})

test('what waits while a batch runs becomes the next batch', async () => {
  const batches: number[] = []
  const batcher = new Batcher(fakeModel(batches), OPTIONS)
  await Promise.all([1, 2, 3, 4, 5, 6].map((value) => batcher.predict([tensor([[value]])], ['sum'], trace())))
  assert.deepEqual(batches, [1, 4, 1])
})

test('a sample that the model cannot take does not spoil its neighbours', async () => {
  const model = fakeModel()
  const batcher = new Batcher(async (inputs) => {
    if (Array.from(inputs[0].data as Float32Array).includes(13)) throw new RequestError(400, 'unlucky')
    return model(inputs, ['sum'])
  }, OPTIONS)
  const results = await Promise.allSettled(
    [1, 13, 2, 3].map((value) => batcher.predict([tensor([[value]])], ['sum'], trace())),
  )
  assert.deepEqual(
    results.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled', 'fulfilled'],
  )
})

test('a request that fails in its first batch leaves nothing in the queue', async () => {
  const batcher = new Batcher(async () => {
    throw new RequestError(400, 'no')
  }, OPTIONS)
  await assert.rejects(batcher.predict([tensor([[1], [2], [3], [4], [5], [6]])], ['sum'], trace()), /no/)
  assert.equal(batcher.waiting, 0)
})

test('a job that is given up leaves the queue, and its neighbours do not notice', async () => {
  const batches: number[] = []
  const batcher = new Batcher(fakeModel(batches), { ...OPTIONS, maxBatchSize: 2 })
  const interest = new Interest()
  const ask = (values: number[], own = new Interest()) =>
    batcher.predict([tensor(values.map((value) => [value]))], ['sum'], trace(own))
  const first = ask([1])
  const givenUp = ask([2, 3, 4], interest)
  const last = ask([5])
  assert.equal(batcher.waiting, 4)
  interest.lose(new RequestError(504, 'late'))
  assert.equal(batcher.waiting, 1)
  await assert.rejects(givenUp, { status: 504 })
  assert.deepEqual(Array.from((await first)[0].data as Float32Array), [1])
  assert.deepEqual(Array.from((await last)[0].data as Float32Array), [5])
  assert.deepEqual(batches, [1, 1])
  await assert.rejects(ask([6], interest), { status: 504 })
})

test('a job is given up between two of its batches', async () => {
  const interest = new Interest()
  const batcher = new Batcher(
    async (inputs, outputs) => {
      interest.lose(new RequestError(499, 'gone'))
      return fakeModel()(inputs, outputs)
    },
    { ...OPTIONS, maxBatchSize: 1 },
  )
  await assert.rejects(batcher.predict([tensor([[1], [2]])], ['sum'], trace(interest)), {
    status: 499,
  })
  assert.equal(batcher.waiting, 0)
})

test('what a dying worker was running is run once more, each on its own, and then refused', async () => {
  const model = fakeModel()
  const seen: number[][] = []
  const batcher = new Batcher(async (inputs, outputs) => {
    const values = Array.from(inputs[0].data as Float32Array)
    seen.push(values)
    if (values.includes(13)) throw new WorkerDied('dead')
    return model(inputs, outputs)
  }, OPTIONS)
  const results = await Promise.allSettled(
    [1, 13, 2, 3].map((value) => batcher.predict([tensor([[value]])], ['sum'], trace())),
  )
  assert.deepEqual(
    results.map((result) => (result.status === 'fulfilled' ? result.value[0].data[0] : result.reason.status)),
    [1, 503, 2, 3],
  )
  assert.deepEqual(seen, [[1], [13, 2, 3], [13], [2], [3]])
  assert.equal(batcher.waiting, 0)
})

test('a trace is told how long it waited and in what company it ran', async () => {
  const batches: [number, number][] = []
  const batcher = new Batcher(fakeModel(), {
    ...OPTIONS,
    onBatch: (samples, ms) => batches.push([samples, ms]),
  })
  const traces = [1, 2, 3].map(() => trace())
  await Promise.all(traces.map((own, index) => batcher.predict([tensor([[index]])], ['sum'], own)))
  assert.deepEqual(
    traces.map(({ batchSize }) => batchSize),
    [1, 2, 2],
  )
  assert.ok(traces[1].queueMs! > 0 && traces[1].inferenceMs === batches[1][1])
  assert.deepEqual(
    batches.map(([samples]) => samples),
    [1, 2],
  )
})

test('with a delay, a batch that is not full waits for more, and a full one does not', async () => {
  const batches: number[] = []
  const patient = new Batcher(fakeModel(batches), { ...OPTIONS, maxDelayMs: 20 })
  await Promise.all([1, 2, 3].map((value) => patient.predict([tensor([[value]])], ['sum'], trace())))
  assert.deepEqual(batches, [3])

  const forEver = new Batcher(fakeModel(batches), { ...OPTIONS, maxDelayMs: 3_600_000 })
  await Promise.all([1, 2, 3, 4].map((value) => forEver.predict([tensor([[value]])], ['sum'], trace())))
  assert.deepEqual(batches, [3, 4])
})
