import assert from 'node:assert/strict'
import { copyFileSync, cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, type TestContext, test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import { checkModel } from '../lib/check/check_model.ts'
import { readSettings } from '../lib/process/settings.ts'
import { loadModel, type Model } from '../model.ts'
import { type Recipe, readRecipe } from '../preprocess/index.ts'
import { ROOT, run, startServer } from './running_server.ts'

type Json = Record<string, unknown>

const FIXTURE = join(ROOT, 'test/fixtures/models/checked')
/** check.json by the pipeline that made it, see make_checks.py */
const CHECKS: Record<string, Json> = JSON.parse(readFileSync(join(ROOT, 'test/fixtures/checks.json'), 'utf8'))
/** preprocessor_config.json of the pipeline 'base' */
const BASE = {
  size: { shortest_edge: 20 },
  resample: 2,
  do_center_crop: true,
  crop_size: 16,
  image_mean: [0.485, 0.456, 0.406],
  image_std: [0.229, 0.224, 0.225],
}

let fixture: Promise<Model> | undefined
after(async () => (await fixture)?.close())

function recipeOf(preprocessor: Json): Recipe {
  return readRecipe({ preprocessor: { path: 'preprocessor_config.json', json: preprocessor } })!
}

/** Check the fixture's graph in a folder with these files. */
async function check(
  t: TestContext,
  checkJson: Json,
  files: Record<string, Json>,
  changes: Partial<Model> = {},
) {
  const folder = mkdtempSync(join(tmpdir(), 'onnxpress-check-'))
  t.after(() => rmSync(folder, { recursive: true }))
  copyFileSync(join(FIXTURE, 'sample.jpg'), join(folder, 'sample.jpg'))
  for (const [name, json] of Object.entries({ ...files, 'check.json': checkJson }))
    writeFileSync(join(folder, name), JSON.stringify(json))
  fixture ??= loadModel(FIXTURE, readSettings({}), { note: () => {} })
  const model = { ...(await fixture), checkPath: join(folder, 'check.json'), ...changes }
  const lines: string[] = []
  const isEqual = await checkModel(model, 1e6, (line) => lines.push(line))
  return { isEqual, lines }
}

const keys = (json: Json) => ({ 'preprocessor_config.json': json })

test("Python's tensors are equal bit for bit, its scores to a hundred-thousandth", async (t) => {
  const { isEqual, lines } = await check(t, CHECKS.base, keys(BASE), { recipe: recipeOf(BASE) })
  assert.ok(isEqual)
  assert.deepEqual(lines.slice(0, 2), ['case       tensor  scores', 'landscape  equal   equal'])
  assert.equal(lines.at(-1), 'check.json: all 2 cases are equal')
})

const ROUNDED = 0.003921568859368563
const CIFAR = '"image_mean": [0.5071, 0.4865, 0.4409], "image_std": [0.2673, 0.2564, 0.2762]'
const edge = (edge: number, crop = 16) =>
  `"size": {"shortest_edge": ${edge}}, "do_center_crop": true, "crop_size": {"height": ${crop}, "width": ${crop}}`

/** By the truth's pipeline: the keys to set in a folder with BASE. */
const FIXES: Record<string, string> = {
  filter: '"resample": 3',
  half: '"image_mean": 0.5, "image_std": 0.5',
  statistics: CIFAR,
  'not normalized': '"do_normalize": false',
  levels: '"do_rescale": false, "do_normalize": false',
  factor: `"rescale_factor": ${ROUNDED}`,
  'factor and statistics': `${CIFAR}, "rescale_factor": ${ROUNDED}`,
  colours: '"do_flip_channel_order": true',
  edge: edge(22),
  'edge and crop': `${edge(18)}, "crop_rounding": "torchvision"`,
  squash: '"size": {"height": 16, "width": 16}, "do_center_crop": false',
  'filter and edge': `${edge(22)}, "resample": 3`,
  'edge, filter and statistics': `${edge(22)}, "resample": 3, ${CIFAR}`,
  crop: '"crop_rounding": "torchvision"',
  size: edge(16, 12),
  backend: '"backend": "torchvision", "fuse_normalize": false',
}
for (const [name, fix] of Object.entries(FIXES)) {
  test(`the cause of another tensor: ${name}`, async (t) => {
    const { isEqual, lines } = await check(t, CHECKS[name], keys(BASE), { recipe: recipeOf(BASE) })
    assert.ok(!isEqual)
    assert.match(lines.join(), /differ, by up to \d|is \[1,3,16,16\], expected \[1,3,12,12\]/)
    const cause = lines.at(-1)!
    assert.ok(cause.startsWith('cause: in Python, '), cause)
    assert.ok(cause.endsWith(`: set ${fix} in preprocessor_config.json`), cause)
  })
}

test('the keys that a cause names make the tensors equal', async (t) => {
  for (const [name, fix] of Object.entries(FIXES)) {
    const fixed = { ...BASE, ...JSON.parse(`{${fix}}`) }
    const { lines } = await check(t, CHECKS[name], keys(fixed), { recipe: recipeOf(fixed) })
    assert.match(lines.at(-1)!, /^check\.json: all [12] cases are equal$/, name)
  }
})

test('a conversion to grey after the resize', async (t) => {
  const settings = readSettings({})
  const mnist = await loadModel(settings.MODEL_DIR, settings, { note: () => {} })
  t.after(() => mnist.close())
  const { checkPath: _, ...model } = mnist
  const { lines } = await check(t, CHECKS.grey, {}, model)
  assert.equal(
    lines.at(-1),
    'cause: in Python, converted to grey after the resize: set "grayscale": "after_resize" in preprocessor_config.json',
  )
})

test('channels last', async (t) => {
  const recipe: Recipe = { ...recipeOf(BASE), layout: 'nhwc' }
  const { lines } = await check(t, CHECKS['channels last'], keys(BASE), { recipe })
  assert.match(lines[1], /values differ/)
  assert.ok(lines.at(-1)!.endsWith(`: set ${CIFAR} in preprocessor_config.json`), lines.at(-1))
})

test('an EXIF orientation that Python did not apply', async (t) => {
  const { lines } = await check(t, CHECKS.exif, keys(BASE), { recipe: recipeOf(BASE) })
  assert.equal(
    lines.at(-1),
    'cause: in Python, the EXIF orientation was not applied: open images with PIL.ImageOps.exif_transpose in Python',
  )
})

test('an unusual cause', async (t) => {
  const { lines } = await check(t, CHECKS.mirror, keys(BASE), { recipe: recipeOf(BASE) })
  assert.match(lines.at(-1)!, /^cause: not found among the usual ones/)
})

test("in a timm folder, the cause names timm's keys", async (t) => {
  const files = { 'config.json': { pretrained_cfg: {} } }
  const filter = await check(t, CHECKS.filter, files, { recipe: recipeOf(BASE) })
  assert.match(filter.lines.at(-1)!, /: set "interpolation": "bicubic" in config\.json$/)
  const edge = await check(t, CHECKS.edge, files, { recipe: recipeOf(BASE) })
  assert.match(edge.lines.at(-1)!, /: set "crop_pct": 0\.7273, "input_size": \[3, 16, 16\] in config\.json$/)
})

test('equal tensors with other scores: the score function, or the graph', async (t) => {
  const { outputSpec } = await loadModel(FIXTURE, readSettings({}), { note: () => {} }).then(
    async (model) => {
      await model.close()
      return model
    },
  )
  const recipe = recipeOf(BASE)
  const sigmoid = { ...outputSpec, scoreFunction: 'sigmoid' as const }
  const { lines } = await check(t, CHECKS.base, keys(BASE), { recipe, outputSpec: sigmoid })
  assert.match(lines[1], /^landscape {2}equal {3}differ by up to 0\.\d+$/)
  assert.equal(
    lines.at(-1),
    'cause: in Python, the scores were made by softmax: set "function_to_apply": "softmax" in config.json',
  )
  const wrong = structuredClone(CHECKS.base) as { cases: { scores: number[] }[] }
  wrong.cases[0].scores[0] += 0.001
  wrong.cases[1].scores.push(0)
  const other = await check(t, wrong, keys(BASE), { recipe })
  assert.match(other.lines[1], /equal {3}differ by up to 0\.001$/)
  assert.match(other.lines[2], /equal {3}are 3, expected 4$/)
  assert.match(other.lines.at(-1)!, /^cause: the tensors are equal, so it is the graph/)
})

test('an invalid check.json is refused in one line', async (t) => {
  const broken = structuredClone(CHECKS.base) as { format: number; cases: { image: unknown; tensor: Json }[] }
  broken.cases[1].tensor.stride = 'x'
  await assert.rejects(check(t, broken, {}), { name: 'ConfigError' })
  broken.cases[1].tensor.stride = 5
  broken.format = 2
  await assert.rejects(check(t, broken, {}), /check\.json: format is 2, expected 1: save the model again$/)
  broken.format = 1
  broken.cases[0].image = { file: '../../etc/passwd' }
  await assert.rejects(check(t, broken, {}), /\/passwd, an image of check\.json, cannot be read/)
})

test('the command: a table, and exit code 0 or 1', async (t) => {
  const equal = await run(['server.js', '--check'])
  assert.equal(equal.code, 0, equal.stderr)
  assert.match(equal.stdout, /^case {7}tensor {2}scores\nsample {5}equal {3}equal/)
  const folder = mkdtempSync(join(tmpdir(), 'onnxpress-check-'))
  t.after(() => rmSync(folder, { recursive: true }))
  cpSync(join(ROOT, 'models/mnist'), folder, { recursive: true })
  const path = join(folder, 'preprocessor_config.json')
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), image_mean: 0.131 }))
  const differing = await run(['server.js', folder, '--check'])
  assert.equal(differing.code, 1)
  assert.match(
    differing.stdout,
    /4 of 4 cases differ\n.*: set "image_mean": 0\.1307, "image_std": 0\.3081 in/,
  )
  const without = await run(['server.js', FIXTURE, '--check'])
  assert.deepEqual(
    [without.code, without.stderr],
    [1, 'onnxpress: checked has no check.json to compare with: onnxpress.save in Python writes one\n'],
  )
})

test('a server checks itself in the background: a metric, and a warning about a difference', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'onnxpress-check-'))
  t.after(() => rmSync(folder, { recursive: true }))
  cpSync(join(ROOT, 'models/mnist'), folder, { recursive: true })
  const checkJson = JSON.parse(readFileSync(join(folder, 'check.json'), 'utf8'))
  checkJson.cases[1].scores.reverse()
  writeFileSync(join(folder, 'check.json'), JSON.stringify(checkJson))
  const server = await startServer({ args: ['server.js', folder] })
  let metrics = ''
  while (!metrics.includes('onnxpress_check_cases{')) {
    metrics = await (await fetch(`${server.url}/metrics`)).text()
    await setTimeout(20)
  }
  assert.match(metrics, /^onnxpress_check_cases\{result="equal"\} 3$/m)
  assert.match(metrics, /^onnxpress_check_cases\{result="different"\} 1$/m)
  assert.match(metrics, /^onnxpress_batch_size_count 0$/m) // the check is not counted as a batch of requests
  assert.equal(await server.stop(), 0)
  const warnings = server.log.map((line) => JSON.parse(line)).filter(({ level }) => level === 40)
  assert.deepEqual(
    warnings.map(({ msg }) => msg),
    [`${folder}/check.json: 1 of 4 cases differ (landscape): --check says why`],
  )
})
