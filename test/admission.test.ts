import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Request, Response } from 'express'
import { Admission } from '../lib/http/admission.ts'
import { Interest, type Trace } from '../lib/http/context.ts'
import { createMetrics } from '../lib/http/metrics.ts'
import { readSettings } from '../lib/process/settings.ts'

const settings = { ...readSettings({}), MAX_QUEUE: 10 }
const queues = [
  { waiting: 3, secondsLeft: 2 },
  { waiting: 4, secondsLeft: 10 },
]
const admission = new Admission(queues, 8, settings, createMetrics())

/** Ask for room for so many samples, as a request does that brings them. */
function ask(samples: number): Promise<void> {
  const trace: Trace = { id: 'one', interest: new Interest() }
  const res = { locals: { trace } } as unknown as Response
  return admission.attend({ headers: {} } as Request, res, async () => {
    try {
      trace.place!.admit(samples)
    } finally {
      trace.place!.leave()
    }
  })
}

test('what fits behind those that wait in both queues is let in', async () => {
  await ask(3)
  assert.equal(admission.refusal(), undefined)
})

test('what does not is 503, and told when there will be room', async () => {
  await assert.rejects(ask(4), { status: 503, headers: { 'retry-after': '12' } })
  const full = new Admission([...queues, { waiting: 3, secondsLeft: 1 }], 8, settings, createMetrics())
  const { status, headers, message } = full.refusal()!
  assert.deepEqual({ status, headers }, { status: 503, headers: { 'retry-after': '13' } })
  assert.match(message, /10 samples wait, MAX_QUEUE is 10/)
})

test('more than a queue holds is 413', async () => {
  await assert.rejects(ask(11), { status: 413, message: /11 samples .* the 10 of MAX_QUEUE/ })
})
