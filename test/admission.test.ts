import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { test } from 'node:test'
import type { Request, Response } from 'express'
import { Admission } from '../lib/http/admission.ts'
import { RequestContext } from '../lib/http/context.ts'
import { Metrics } from '../lib/http/metrics.ts'

const metrics = new Metrics()
const options = { batchSize: 8, maxQueue: 10, maxBodyBytes: 1000, metrics }
const queues = [
  { waiting: 3, estimatedWaitSeconds: 2 },
  { waiting: 4, estimatedWaitSeconds: 10 },
]
const admission = new Admission({ ...options, queues })

function context(): RequestContext {
  const res = Object.assign(new EventEmitter(), { setHeader() {} }) as unknown as Response
  return new RequestContext({ headers: {}, complete: true } as Request, res, 60_000)
}

/** Reserve room for samples, as a request does. */
async function ask(samples: number): Promise<void> {
  const ctx = context()
  try {
    await admission.run(ctx, async ({ reservation }) => reservation.reserve(samples))
  } finally {
    ctx.res.emit('close')
  }
}

test('samples that fit with those waiting in both queues are admitted', async () => {
  await ask(3)
  assert.equal(admission.overloadError(), undefined)
})

test('samples that do not fit get 503, with the estimated wait', async () => {
  await assert.rejects(ask(4), { status: 503, headers: { 'retry-after': '12' } })
  const full = new Admission({ ...options, queues: [...queues, { waiting: 3, estimatedWaitSeconds: 1 }] })
  const { status, headers, message } = full.overloadError()!
  assert.deepEqual({ status, headers }, { status: 503, headers: { 'retry-after': '13' } })
  assert.match(message, /10 samples wait; the limit is 10 \(MAX_QUEUE\)/)
})

test('without room for a tensor, a request is refused before its body is read', async () => {
  const limited = new Admission({ ...options, queues: [], tensorBytes: 500 })
  const ctx = context()
  await limited.run(ctx, async ({ reservation }) => {
    reservation.countBody(900)
    reservation.countTensors(14_600)
  })
  assert.equal(limited.overloadError(), undefined) // 500 of 16 x 1000 are left
  const other = context()
  await limited.run(other, async ({ reservation }) => reservation.countBody(1))
  const { status, headers, message } = limited.overloadError()!
  assert.deepEqual({ status, headers }, { status: 503, headers: { 'retry-after': '1' } })
  assert.match(message, /bodies and tensors of 15501 bytes are being processed; the limit is 16000/)
  ctx.res.emit('close')
  assert.equal(limited.overloadError(), undefined)
  other.res.emit('close')
})

test('a request whose tensors alone are too large gets 413', async () => {
  const limited = new Admission({ ...options, queues: [], tensorBytes: 2000 })
  const ctx = context()
  const work = limited.run(ctx, async ({ reservation }) => {
    reservation.countTensors(32_000)
    reservation.countTensors(1)
  })
  await assert.rejects(work, { status: 413, message: /have 32001 bytes; the limit is 32000, and grows/ })
  ctx.res.emit('close')
})

test('more samples than the queue can hold get 413', async () => {
  await assert.rejects(ask(11), { status: 413, message: /11 samples .* 10 \(MAX_QUEUE\)/ })
})

test('memory is counted while a request is open, and released once', async () => {
  const ctx = context()
  const bytes = async () => (await metrics.bytesInFlight.get()).values[0]?.value ?? 0
  const before = await bytes()
  const memory = new ArrayBuffer(2 ** 20)
  await admission.run(ctx, async ({ reservation }) => {
    reservation.countBody(500)
    reservation.countTensors(100)
    reservation.own(memory)
  })
  assert.equal(await bytes(), before + 600)
  for (let i = 0; i < 2; i++) ctx.res.emit('close')
  assert.equal(await bytes(), before)
  assert.equal(memory.byteLength, 0)
})
