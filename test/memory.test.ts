import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate } from 'node:timers/promises'
import { release, releaseChunk } from '../lib/workers/memory.ts'

const MB = 2 ** 20

test('large memory is given back at once', async () => {
  // on Node 20 the port's other end takes two turns of the event loop to close
  await setImmediate()
  await setImmediate()
  const before = process.memoryUsage().arrayBuffers
  for (let i = 0; i < 100; i++) {
    const memory = new ArrayBuffer(MB)
    release(memory)
    release(memory)
    assert.equal(memory.byteLength, 0)
  }
  assert.ok(process.memoryUsage().arrayBuffers - before < 10 * MB)
})

test('small memory is left alone', () => {
  const memory = new ArrayBuffer(100)
  release(memory)
  assert.equal(memory.byteLength, 100)
})

test('a chunk that shares its memory keeps it, one that has it for itself does not', () => {
  const shared = Buffer.from(new ArrayBuffer(MB))
  releaseChunk(shared.subarray(1))
  assert.equal(shared.length, MB)
  releaseChunk(shared)
  assert.equal(shared.length, 0)
})
