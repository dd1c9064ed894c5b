import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import { Batcher, type BatcherOptions } from '../lib/batcher.ts'
import { RequestError } from '../lib/errors.ts'
import type { AnyTensor, Tensor } from '../lib/tensor.ts'

const OPTIONS: BatcherOptions = { maxBatchSize: 4, isFixed: false, maxDelayMs: 0, maxQueue: 100 }

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
      const batcher = new Batcher(fakeModel(batches), { ...OPTIONS, maxBatchSize, isFixed, maxQueue: 1000 })
      const answers = await Promise.all(
        mix.map(async (samples, index) => {
          if (index % 3 === 2) await setImmediate() // some arrive while others run
          return batcher.predict([tensor(samples)], WANTED[(index + samples.length) % 3])
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
  await Promise.all([1, 2, 3, 4, 5, 6].map((value) => batcher.predict([tensor([[value]])], ['sum'])))
  assert.deepEqual(batches, [1, 4, 1])
})

test('a sample that the model cannot take does not spoil its neighbours', async () => {
  const model = fakeModel()
  const batcher = new Batcher(async (inputs) => {
    if (Array.from(inputs[0].data as Float32Array).includes(13)) throw new RequestError(400, 'unlucky')
    return model(inputs, ['sum'])
  }, OPTIONS)
  const results = await Promise.allSettled(
    [1, 13, 2, 3].map((value) => batcher.predict([tensor([[value]])], ['sum'])),
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
  await assert.rejects(batcher.predict([tensor([[1], [2], [3], [4], [5], [6]])], ['sum']), /no/)
  assert.equal(batcher.waiting, 0)
})

test('a full queue answers 503, and a request larger than the queue 413', async () => {
  const batcher = new Batcher(fakeModel(), { ...OPTIONS, maxBatchSize: 1, maxQueue: 2 })
  const answered = [1, 2, 3].map((value) => batcher.predict([tensor([[value]])], ['sum'])) // one runs, two wait
  await assert.rejects(batcher.predict([tensor([[4]])], ['sum']), (error: RequestError) => {
    assert.equal(error.status, 503)
    assert.equal(error.headers['retry-after'], '1')
    return true
  })
  await assert.rejects(batcher.predict([tensor([[1], [2], [3]])], ['sum']), { status: 413 })
  await Promise.all(answered)
  await batcher.predict([tensor([[4]])], ['sum'])
})

test('with a delay, a batch that is not full waits for more, and a full one does not', async () => {
  const batches: number[] = []
  const patient = new Batcher(fakeModel(batches), { ...OPTIONS, maxDelayMs: 20 })
  await Promise.all([1, 2, 3].map((value) => patient.predict([tensor([[value]])], ['sum'])))
  assert.deepEqual(batches, [3])

  const forEver = new Batcher(fakeModel(batches), { ...OPTIONS, maxDelayMs: 3_600_000 })
  await Promise.all([1, 2, 3, 4].map((value) => forEver.predict([tensor([[value]])], ['sum'])))
  assert.deepEqual(batches, [3, 4])
})
