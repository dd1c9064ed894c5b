import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import fc from 'fast-check'
import { Batcher, type BatcherOptions, type JobContext } from '../lib/inference/batcher.ts'
import { RequestError, WorkerDied } from '../lib/inference/errors.ts'
import { Signal } from '../lib/inference/signal.ts'
import type { Tensor } from '../lib/inference/tensor.ts'

const OPTIONS: BatcherOptions = { maxBatchSize: 4, isFixed: false, maxDelayMs: 0 }

const context = (signal = new Signal()): JobContext => ({ signal, timings: {} })

/** A model with the sum and the first number of each sample as outputs; it records the size of each batch. */
function fakeModel(batches: number[] = []) {
  return async (input: Tensor, outputs: readonly string[]): Promise<Tensor[]> => {
    const [n, ...rest] = input.dims
    batches.push(n)
    await setImmediate()
    const length = rest.reduce((a, b) => a * b, 1)
    const rows = Array.from({ length: n }, (_, i) =>
      Array.from(input.data as Float32Array).slice(i * length, (i + 1) * length),
    )
    const sums = rows.map((row) => row.reduce((a, b) => a + b, 0))
    const results: Record<string, Tensor> = {
      sum: { dtype: 'float32', dims: [n], data: Float32Array.from(sums) },
      first: { dtype: 'float64', dims: [n, 1], data: Float64Array.from(rows, (row) => row[0]) },
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
    first: samples.map((row) => row[0]),
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

const WANTED = [['sum'], ['sum', 'first'], ['first']]

test('any mix of single samples, batches, shapes and outputs gets the right results', async () => {
  const options = fc.record({ maxBatchSize: fc.integer({ min: 1, max: 5 }), isFixed: fc.boolean() })
  await fc.assert(
    fc.asyncProperty(requests, options, async (mix, { maxBatchSize, isFixed }) => {
      const batches: number[] = []
      const batcher = new Batcher(fakeModel(batches), { ...OPTIONS, maxBatchSize, isFixed })
      const results = await Promise.all(
        mix.map(async (samples, index) => {
          if (index % 3 === 2) await setImmediate() // some arrive while others run
          return batcher.predict(tensor(samples), WANTED[(index + samples.length) % 3], context())
        }),
      )
      results.forEach((outputs, index) => {
        assert.deepEqual(
          outputs.map(({ data }) => Array.from<unknown>(data as Float32Array)),
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

test('samples that wait while a batch runs become the next batch', async () => {
  const batches: number[] = []
  const batcher = new Batcher(fakeModel(batches), OPTIONS)
  await Promise.all([1, 2, 3, 4, 5, 6].map((value) => batcher.predict(tensor([[value]]), ['sum'], context())))
  assert.deepEqual(batches, [1, 4, 1])
})

test('a sample that fails does not affect its neighbours', async () => {
  const model = fakeModel()
  const batcher = new Batcher(async (input) => {
    if (Array.from(input.data as Float32Array).includes(13)) throw new RequestError(400, 'unlucky')
    return model(input, ['sum'])
  }, OPTIONS)
  const results = await Promise.allSettled(
    [1, 13, 2, 3].map((value) => batcher.predict(tensor([[value]]), ['sum'], context())),
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
  await assert.rejects(batcher.predict(tensor([[1], [2], [3], [4], [5], [6]]), ['sum'], context()), /no/)
  assert.equal(batcher.waiting, 0)
})

test('an aborted job leaves the queue without affecting its neighbours', async () => {
  const batches: number[] = []
  const batcher = new Batcher(fakeModel(batches), { ...OPTIONS, maxBatchSize: 2 })
  const signal = new Signal()
  const ask = (values: number[], own = new Signal()) =>
    batcher.predict(tensor(values.map((value) => [value])), ['sum'], context(own))
  const first = ask([1])
  const aborted = ask([2, 3, 4], signal)
  const last = ask([5])
  assert.equal(batcher.waiting, 4)
  signal.abort(new RequestError(504, 'late'))
  assert.equal(batcher.waiting, 1)
  await assert.rejects(aborted, { status: 504 })
  assert.deepEqual(Array.from((await first)[0].data as Float32Array), [1])
  assert.deepEqual(Array.from((await last)[0].data as Float32Array), [5])
  assert.deepEqual(batches, [1, 1])
  await assert.rejects(ask([6], signal), { status: 504 })
})

test('a job can be aborted between two of its batches', async () => {
  const signal = new Signal()
  const batcher = new Batcher(
    async (input, outputs) => {
      signal.abort(new RequestError(499, 'gone'))
      return fakeModel()(input, outputs)
    },
    { ...OPTIONS, maxBatchSize: 1 },
  )
  await assert.rejects(batcher.predict(tensor([[1], [2]]), ['sum'], context(signal)), {
    status: 499,
  })
  assert.equal(batcher.waiting, 0)
})

test('jobs of a worker that dies are retried once, one at a time; one that kills it again gets 503', async () => {
  const model = fakeModel()
  const seen: number[][] = []
  const batcher = new Batcher(async (input, outputs) => {
    const values = Array.from(input.data as Float32Array)
    seen.push(values)
    if (values.includes(13)) throw new WorkerDied('dead')
    return model(input, outputs)
  }, OPTIONS)
  const results = await Promise.allSettled(
    [1, 13, 2, 3].map((value) => batcher.predict(tensor([[value]]), ['sum'], context())),
  )
  assert.deepEqual(
    results.map((result) => (result.status === 'fulfilled' ? result.value[0].data[0] : result.reason.status)),
    [1, 503, 2, 3],
  )
  assert.deepEqual(seen, [[1], [13, 2, 3], [13], [2], [3]])
  assert.equal(batcher.waiting, 0)
})

test('timings record the wait and the batch size', async () => {
  const batches: [number, number][] = []
  const batcher = new Batcher(fakeModel(), {
    ...OPTIONS,
    onBatch: (samples, ms) => batches.push([samples, ms]),
  })
  const contexts = [1, 2, 3].map(() => context())
  await Promise.all(contexts.map((own, index) => batcher.predict(tensor([[index]]), ['sum'], own)))
  const timings = contexts.map((own) => own.timings)
  assert.deepEqual(
    timings.map(({ batchSize }) => batchSize),
    [1, 2, 2],
  )
  assert.ok(timings[1].queueMs! > 0 && timings[1].inferenceMs === batches[1][1])
  assert.deepEqual(
    batches.map(([samples]) => samples),
    [1, 2],
  )
})

test('with a delay, an incomplete batch waits for more samples; a full one does not', async () => {
  const batches: number[] = []
  const patient = new Batcher(fakeModel(batches), { ...OPTIONS, maxDelayMs: 20 })
  await Promise.all([1, 2, 3].map((value) => patient.predict(tensor([[value]]), ['sum'], context())))
  assert.deepEqual(batches, [3])

  const forEver = new Batcher(fakeModel(batches), { ...OPTIONS, maxDelayMs: 3_600_000 })
  await Promise.all([1, 2, 3, 4].map((value) => forEver.predict(tensor([[value]]), ['sum'], context())))
  assert.deepEqual(batches, [3, 4])
})

test('a job whose output has another shape in its second batch is refused', async () => {
  let width = 0
  const run = async ({ dims: [n] }: Tensor): Promise<Tensor[]> => {
    width++
    return [{ dtype: 'float32', dims: [n, width], data: new Float32Array(n * width) }]
  }
  const batcher = new Batcher(run, { ...OPTIONS, maxBatchSize: 2 })
  const refused = { status: 400, message: /its output is \[2,1\] in one batch, \[1,2\] in the next/ }
  await assert.rejects(batcher.predict(tensor([[1], [2], [3]]), ['y'], context()), refused)
  assert.equal(batcher.waiting, 0)
})

test('a sample without a row in the outputs is refused, and the rest of its batch is answered', async () => {
  const model = fakeModel()
  // drops samples of 0, as the operator Compress could
  const dropping = async (input: Tensor, outputs: readonly string[]): Promise<Tensor[]> => {
    const results = await model(input, outputs)
    const kept = Array.from(results[0].data as Float32Array).filter((sum) => sum !== 0)
    return [{ ...results[0], dims: [kept.length], data: Float32Array.from(kept) }]
  }
  const batcher = new Batcher(dropping, OPTIONS)
  const ask = (row: number[]) => batcher.predict(tensor([row]), ['sum'], context())
  const [first, ...others] = [ask([9]), ask([1]), ask([0]), ask([2])]
  assert.deepEqual([...(await first)[0].data], [9])
  const [one, none, two] = await Promise.allSettled(others)
  assert.deepEqual([...(one as PromiseFulfilledResult<Tensor[]>).value[0].data], [1])
  assert.deepEqual([...(two as PromiseFulfilledResult<Tensor[]>).value[0].data], [2])
  const { reason } = none as PromiseRejectedResult
  assert.ok(reason instanceof RequestError && reason.status === 400)
  assert.match(reason.message, /its output for 1 samples is \[0\], expected \[1,/)
})
