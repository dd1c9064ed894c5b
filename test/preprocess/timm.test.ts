import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { type Recipe, readRecipe } from '../../preprocess/index.ts'

/** A configuration of timm: its number of weights, its keys, its transforms by default and at the test size. */
type Configuration = [
  weights: number,
  pretrained_cfg: Record<string, unknown>,
  byDefault: string,
  atTest?: string,
]

const PATH = new URL('../fixtures/timm_configurations.json', import.meta.url)
const configurations: Configuration[] = JSON.parse(readFileSync(PATH, 'utf8'))

/** A recipe in the notation of make_timm_configurations.py. */
function steps({ resize, crop, normalize: [{ mean, std }], rescale }: Recipe): string {
  assert.deepEqual(rescale, { factor: 1 / 255, offset: 0 })
  assert.ok(resize && crop?.centring === 'torchvision')
  const isKeepingRatio = resize.to === 'fit' || resize.to === 'cover'
  const size = resize.to === 'shortest edge' ? resize.edge : `${resize.height} ${resize.width}`
  const [resizes, crops] = [
    isKeepingRatio ? 'ResizeKeepRatio' : 'Resize',
    resize.to === 'fit' ? 'CenterCropOrPad' : 'CenterCrop',
  ]
  const numbers = [...mean, ...std].map((number) => Math.fround(number).toFixed(6)).join(' ')
  return `${resizes} ${size} ${resize.filter}; ${crops} ${crop.height} ${crop.width}; Normalize ${numbers}`
}

function read(pretrained_cfg: Record<string, unknown>, dims: (number | string)[], note = (_: string) => {}) {
  const config = { path: 'config.json', json: { pretrained_cfg } }
  const input = { name: 'x', dtype: 'float32', dims }
  return readRecipe({ config }, { input, note })!
}

test('a fixed size is that of the model that was made, as in timm (models/_hub.py)', () => {
  const pretrained_cfg = { input_size: [3, 224, 224], crop_pct: 1, fixed_input_size: true }
  const sizeOf = (model_args: object, cfg: object = pretrained_cfg) => {
    const config = { path: 'config.json', json: { model_args, pretrained_cfg: cfg } }
    const input = { name: 'x', dtype: 'float32', dims: ['n', 3, 'h', 'w'] }
    const { crop } = readRecipe({ config }, { input, note: assert.fail })!
    return [crop?.height, crop?.width]
  }
  assert.deepEqual(sizeOf({ img_size: 384 }), [384, 384])
  assert.deepEqual(sizeOf({ img_size: [192, 256] }), [192, 256])
  assert.deepEqual(sizeOf({ img_size: 384 }, { ...pretrained_cfg, fixed_input_size: false }), [224, 224])
  for (const flexible of [{ dynamic_img_size: true }, { strict_img_size: false }, { use_naflex: true }])
    assert.deepEqual(sizeOf({ img_size: 384, ...flexible }), [224, 224])
})

test("every configuration of timm's 3,394 pretrained weights: its transforms by default", () => {
  for (const [, pretrained_cfg, byDefault, atTest] of configurations) {
    const notes: string[] = []
    const recipe = read(pretrained_cfg, ['n', 3, 'h', 'w'], (message) => notes.push(message))
    assert.equal(steps(recipe), byDefault, JSON.stringify(pretrained_cfg))
    if (!pretrained_cfg.test_input_size) assert.deepEqual(notes, [])
    else if (atTest) assert.match(notes.join(), /timm's own default; for test_input_size, \d+x\d+, set/)
    else assert.deepEqual(notes, [])
  }
  assert.ok(configurations.reduce((sum, [weights]) => sum + weights, 0) >= 3394)
})

test("a graph of timm's test size alone gets the transforms of that size", () => {
  const withTestSize = configurations.filter(([, { test_input_size }]) => test_input_size)
  for (const [, pretrained_cfg, byDefault, atTest] of withTestSize) {
    const [trainSize, testSize] = [pretrained_cfg.input_size, pretrained_cfg.test_input_size] as number[][]
    const recipe = read(pretrained_cfg, ['n', ...testSize], assert.fail)
    assert.equal(steps(recipe), String(trainSize) === String(testSize) ? byDefault : atTest)
  }
  assert.ok(withTestSize.length > 30)
})
