import assert from 'node:assert/strict'
import { existsSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { type RunningServer, startServer } from './running_server.ts'

/** Vulkan on the CPU (SwiftShader), which Chromium includes: a GPU for every machine. */
const SWIFTSHADER = '/usr/lib/chromium/vk_swiftshader_icd.json'
const VULKAN = ['/usr/lib/x86_64-linux-gnu/libvulkan.so.1', '/usr/lib/aarch64-linux-gnu/libvulkan.so.1']

interface Result {
  label: string
  predictions: { label: string; score: number }[]
}

/** 40 samples of noise and gradients, float32 [40, 1, 28, 28]. */
const SAMPLES = Float32Array.from({ length: 40 * 784 }, (_, i) => Math.sin(i * (1 + (i % 40) / 7)) * 2)

async function classify({ url }: RunningServer): Promise<Result[]> {
  const options = { method: 'POST', body: SAMPLES }
  const response = await fetch(`${url}/predict?dims=40,1,28,28&top_k=10`, options)
  assert.equal(response.status, 200)
  return (await response.json()) as Result[]
}

async function assertSame(env: Record<string, string>): Promise<void> {
  const [cpu, gpu] = await Promise.all([startServer(), startServer({ env })])
  const { device } = (await (await fetch(`${gpu.url}/model`)).json()) as { device: string }
  assert.equal(device, env.DEVICE)
  const [expected, found] = [await classify(cpu), await classify(gpu)]
  for (const [index, { label, predictions }] of expected.entries()) {
    assert.equal(found[index].label, label)
    const scores = new Map(found[index].predictions.map((one) => [one.label, one.score]))
    for (const one of predictions) assert.ok(Math.abs(scores.get(one.label)! - one.score) < 1e-3)
  }
  await Promise.all([cpu.stop(), gpu.stop()])
}

const noSwiftShader =
  existsSync(SWIFTSHADER) && VULKAN.some((path) => existsSync(path))
    ? false
    : "there is no SwiftShader: install Debian's chromium and libvulkan1"

test("WebGPU gives the CPU's results", { skip: noSwiftShader }, async () => {
  const XDG_RUNTIME_DIR = mkdtempSync(join(tmpdir(), 'onnxpress-webgpu-'))
  await assertSame({ DEVICE: 'webgpu', VK_DRIVER_FILES: SWIFTSHADER, XDG_RUNTIME_DIR })
})

const noGpu = process.env.TEST_DEVICE ? false : 'set TEST_DEVICE=cuda on a machine with a GPU'

test("the GPU gives the CPU's results", { skip: noGpu }, () =>
  assertSame({ DEVICE: process.env.TEST_DEVICE! }),
)
