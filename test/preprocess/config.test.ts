import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import sharp from 'sharp'
import {
  ConfigError,
  describeRecipe,
  loadRecipe,
  preprocess,
  preview,
  readJsonFile,
  readRecipe,
  sampleDims,
} from '../../preprocess/index.ts'
import { ROOT } from '../running_server.ts'

function scratchFile(text: string | Buffer): { path: string; remove: () => void } {
  const dir = mkdtempSync(join(tmpdir(), 'onnxpress-config-'))
  const path = join(dir, 'config.json')
  writeFileSync(path, text)
  return { path, remove: () => rmSync(dir, { recursive: true }) }
}

const broken: [what: string, text: string, line: number, reason: RegExp][] = [
  ['a value that is missing', '{\n"a": 1,\n"b": }\n', 3, /^Unexpected token '?}'?$/],
  ['the same word, valid before', `{\n"a": "}",\n"b": [1,2,3],\n\n"c": }${' '.repeat(500)}\n\n}`, 5, /token/],
  ['a trailing comma', '{\n"a": 1,\n}', 3, /./],
  ['a comment', '{\n"a": 1, // one\n"b": 2}', 2, /./],
  ['a word', '{"a": 1,\n"b": nope}', 2, /./],
  ['a line break in a string', '{"a": 1,\n"b": "x\n"}', 2, /control character/i],
  ['an early end', '{\n"size": ', 2, /^Unexpected end/],
  ['nothing', '', 1, /^Unexpected end/],
  ['text after the end', '{}\n\n{}', 3, /./],
]
for (const [what, text, line, reason] of broken)
  test(`JSON with ${what}: the line and the reason`, () => {
    const { path, remove } = scratchFile(text)
    assert.throws(
      () => readJsonFile(path),
      (error: unknown) => {
        assert.ok(error instanceof ConfigError)
        const [, at, why] = /^.*config\.json, line (\d+): not valid JSON: (.+)$/.exec(error.message)!
        assert.equal(Number(at), line, error.message)
        assert.match(why, reason)
        return true
      },
    )
    remove()
  })

test('a JSON file: a byte order mark and nulls are dropped; a missing file is undefined', () => {
  const { path, remove } = scratchFile('\ufeff{"a": null, "b": {"c": null}}')
  assert.deepEqual(readJsonFile(path), { path, json: { b: { c: null } } })
  remove()
  assert.equal(readJsonFile(path), undefined)
})

test('loadRecipe reads a folder, and notes its assumptions', async () => {
  const recipe = loadRecipe(join(ROOT, 'models/mnist'))!
  assert.equal(recipe.channels, 1)
  assert.match(describeRecipe(recipe).join('\n'), /^decode, .*\nresize .*28x28/)
  const { path, remove } = scratchFile('{}')
  const notes: string[] = []
  loadRecipe(join(path, '..'), { note: (message) => notes.push(message) })
  assert.match(notes.join(), /^there is no preprocessor_config.json: images are resized to 224x224/)
  remove()
})

const CONFIG = { path: 'preprocessor_config.json', json: { size: { width: 3, height: 2 }, image_mean: 0.5 } }
const inputOf = (dtype: string) => ({ name: 'x', dtype, dims: ['n', 3, 2, 3] })
const red = sharp({ create: { width: 9, height: 9, channels: 3, background: { r: 255, g: 3, b: 0 } } })

test('an integer graph gets levels, a float graph rescaled float32, int8 is refused', async () => {
  const file = await red.png().toBuffer()
  const run = (dtype: string) =>
    preprocess(file, readRecipe({ preprocessor: CONFIG }, { input: inputOf(dtype) })!, { maxPixels: 100 })
  for (const dtype of ['uint8', 'int32', 'int64', 'bool']) {
    const tensor = await run(dtype)
    const levels = Uint8Array.from([255, 255, 255, 255, 255, 255, 3, 3, 3, 3, 3, 3, 0, 0, 0, 0, 0, 0])
    assert.deepEqual(tensor, { dtype: 'uint8', dims: [1, 3, 2, 3], data: levels })
  }
  for (const dtype of ['float32', 'float16', 'float64']) {
    const { data, dims } = await run(dtype)
    assert.ok(data instanceof Float32Array)
    assert.deepEqual(dims, [1, 3, 2, 3])
    assert.deepEqual([data[0], data[17]], [1, -1])
  }
  await assert.rejects(async () => run('int8'), /^ConfigError: the model's input x is int8, expected uint8/)
})

test('the preview is the image before rescaling, as a PNG', async () => {
  const recipe = readRecipe({ preprocessor: CONFIG }, { input: inputOf('float32') })!
  const png = await preview(await red.webp({ lossless: true }).toBuffer(), recipe, { maxPixels: 100 })
  const { data, info } = await sharp(png).raw().toBuffer({ resolveWithObject: true })
  assert.deepEqual([info.width, info.height, info.channels], [3, 2, 3])
  assert.deepEqual([...data.subarray(0, 3)], [255, 3, 0])
  const grey = await preview(await red.jpeg().toBuffer(), { ...recipe, channels: 1 }, { maxPixels: 100 })
  assert.equal((await sharp(grey).metadata()).space, 'b-w')
})

/** The recipe of a file, and its notes. */
function readNoted(
  json: Record<string, unknown>,
  dims: (number | string)[] = ['n', 3, 'h', 'w'],
  config = {},
) {
  const notes: string[] = []
  const input = { name: 'x', dtype: 'float32', dims }
  const files = { preprocessor: { path: 'p.json', json }, config: { path: 'config.json', json: config } }
  const recipe = readRecipe(files, { input, note: (message) => notes.push(message) })!
  return { recipe, notes }
}
const WHOLE = { size: { width: 3, height: 2 }, resample: 2, image_mean: 0.5, image_std: 0.5 }

test('the channel axis: the second one, or the last one if that is 1 or 3 and the second is not', () => {
  const cases: [dims: (number | string)[], layout: string, channels: number][] = [
    [['n', 3, 2, 3], 'nchw', 3],
    [['n', 1, 2, 3], 'nchw', 1],
    [['n', 'c', 'h', 'w'], 'nchw', 3],
    [['n', 2, 3, 3], 'nhwc', 3],
    [['n', 2, 3, 1], 'nhwc', 1],
    [['n', 'height', 'width', 3], 'nhwc', 3],
    [['n', '', '', 1], 'nhwc', 1],
  ]
  for (const [dims, layout, channels] of cases) {
    const { recipe, notes } = readNoted(WHOLE, dims)
    assert.deepEqual([recipe.layout, recipe.channels, notes], [layout, channels, []], String(dims))
    const sizes = layout === 'nchw' ? [channels, 2, 3] : [2, 3, channels]
    assert.deepEqual(sampleDims({ dims }, recipe), sizes)
  }
  for (const dims of [
    ['n', 2, 3, 'c'],
    ['n', 4, 2, 2],
    ['n', 3],
  ])
    assert.throws(() => readNoted(WHOLE, dims), /p\.json is for images, but the model's input x is/)
  const { notes } = readNoted({ ...WHOLE, data_format: 'channels_last' })
  assert.match(notes.join(), /^p\.json: data_format has no effect: the model's input x is \[n,3,h,w\], nchw$/)
})

test('a channels-last tensor has the numbers of the other layout, a pixel at a time', async () => {
  const file = await red.png().toBuffer()
  for (const dtype of ['float32', 'uint8']) {
    const run = (dims: (number | string)[]) => {
      const recipe = readRecipe({ preprocessor: CONFIG }, { input: { name: 'x', dtype, dims } })!
      return preprocess(file, recipe, { maxPixels: 100 })
    }
    const [planar, pixels] = [await run(['n', 3, 2, 3]), await run(['n', 2, 3, 3])]
    assert.deepEqual(pixels.dims, [1, 2, 3, 3])
    for (let i = 0; i < 18; i++) assert.equal(pixels.data[i], planar.data[(i % 3) * 6 + Math.floor(i / 3)])
    assert.notEqual(pixels.data[1], pixels.data[0])
  }
})

test('do_flip_channel_order reverses the normalized channels in every class', async () => {
  const file = await red.png().toBuffer()
  for (const type of [undefined, 'ViT', 'CLIP', 'ConvNext', 'EfficientNet', 'MobileViT', 'PPLCNet']) {
    const tensorOf = (flip: boolean) => {
      const image_processor_type = type && `${type}ImageProcessor`
      const json = {
        ...{ resample: 2, image_mean: [0.1, 0.2, 0.3], image_std: 0.5, do_center_crop: false },
        ...{ size: { shortest_edge: 8 }, do_flip_channel_order: flip, ...(type && { image_processor_type }) },
      }
      return preprocess(file, readNoted(json).recipe, { maxPixels: 1e6 })
    }
    const [plain, flipped] = [await tensorOf(false), await tensorOf(true)]
    const size = plain.data.length / 3
    for (let c = 0; c < 3; c++) {
      const [from, to] = [c * size, (2 - c) * size]
      assert.deepEqual(flipped.data.subarray(from, from + size), plain.data.subarray(to, to + size), type)
    }
  }
  const { notes } = readNoted({
    ...WHOLE,
    image_processor_type: 'ViTImageProcessor',
    do_flip_channel_order: true,
  })
  assert.match(
    notes.join(),
    /do_flip_channel_order is true: the server applies it, although transformers' ViTImageProcessor/,
  )
})

test('a file without a class is read as the class of its model_type, else as written by hand', () => {
  const { recipe } = readNoted({ size: 64 }, undefined, { model_type: 'mobilenet_v2' })
  assert.deepEqual(recipe.resize, { to: 'shortest edge', edge: 64, filter: 'bilinear' })
  assert.equal(recipe.crop?.width, 224)
  const byHand = readNoted({ size: 64, mean: 0.1, std: 0.2 }, undefined, { model_type: 'my_net' })
  assert.match(
    byHand.notes.join(),
    /^p\.json has neither image_processor_type nor resample: assumed resample 2$/,
  )
  assert.deepEqual(byHand.recipe.normalize, [{ mean: [0.1, 0.1, 0.1], std: [0.2, 0.2, 0.2] }])
  // the graph's size, not ViT's default
  const { notes } = readNoted({ resample: 3, do_normalize: false }, ['n', 1, 28, 30])
  assert.match(notes.join(), /nor size: assumed size \{"height":28,"width":30\}$/)
  const cropped = readNoted({ size: 64, resample: 2, do_normalize: false, do_center_crop: true })
  assert.match(cropped.notes.join(), /nor crop_size: assumed crop_size 224$/)
  for (const model of ['donut-swin', 'siglip2', 'imagegpt'])
    assert.throws(
      () => readNoted({}, undefined, { model_type: model }),
      /is not supported: set image_processor_type to/,
    )
})

test('our own keys choose the arithmetic', () => {
  const { recipe } = readNoted({
    ...WHOLE,
    backend: 'torchvision',
    resample: 'bicubic',
    crop_rounding: 'torchvision',
  })
  assert.deepEqual([recipe.backend, recipe.isFused, recipe.resize?.filter], ['torchvision', true, 'bicubic'])
  const plain = readNoted({ ...WHOLE, backend: 'torchvision', fuse_normalize: false })
  assert.deepEqual([plain.recipe.backend, plain.recipe.isFused, plain.notes], ['torchvision', false, []])
  for (const [version, is13] of [
    [9, undefined],
    [12, undefined],
    [13, true],
    [14, true],
  ]) {
    const { recipe, notes } = readNoted({ ...WHOLE, pillow_version: version })
    assert.deepEqual([recipe.isPillow13, notes], [is13, []])
  }
  assert.throws(
    () => readNoted({ ...WHOLE, pillow_version: '13.0.0' }),
    /pillow_version is "13.0.0", expected the major version of Pillow, such as 12 or 13/,
  )
  assert.match(
    readNoted({ ...WHOLE, backend: 'torchvision', pillow_version: 13 }).notes.join(),
    /pillow_version has no effect with/,
  )
  assert.throws(
    () => readNoted({ ...WHOLE, backend: 'torchvision', resample: 'box' }),
    /resample is "box", expected/,
  )
  const late = readNoted({ ...WHOLE, image_mean: [0.1], image_std: [0.3], grayscale: 'after_resize' }, [
    'n',
    1,
    2,
    3,
  ])
  assert.equal(late.recipe.greyAfterResize, true)
  assert.match(readNoted({ ...WHOLE, grayscale: 'after_resize' }).notes.join(), /grayscale has no effect/)
  assert.match(
    readNoted({ ...WHOLE, fuse_normalize: false }).notes.join(),
    /fuse_normalize has no effect without/,
  )
  assert.match(
    readNoted({ ...WHOLE, image_mean: [123.7, 116.3, 103.5] }).notes.join(),
    /divide it and the standard/,
  )
  assert.throws(() => readNoted({ ...WHOLE, mean: 1 }), /mean and image_mean are both set/)
  assert.equal(readNoted({ ...WHOLE, image_processor_type: 'CLIPImageProcessor' }).recipe.alpha, 'white')
  assert.equal(
    readNoted({ ...WHOLE, image_processor_type: 'PPLCNetImageProcessor' }).recipe.backend,
    'torchvision',
  )
})

test('null turns a step off, as in transformers, and does not mean the default of the class', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'onnxpress-nulls-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const load = (json: object) => {
    writeFileSync(join(dir, 'preprocessor_config.json'), JSON.stringify(json))
    return loadRecipe(dir)!
  }
  const siglip = { image_processor_type: 'SiglipImageProcessor' }
  assert.equal(load(siglip).alpha, 'white')
  assert.equal(load({ ...siglip, do_convert_rgb: null }).alpha, undefined)
  assert.equal(load({ ...siglip, do_resize: null }).resize, undefined)
  assert.equal(load({ ...siglip, resample: null }).resize?.filter, 'bilinear')
  assert.throws(() => load({ ...siglip, image_mean: null }), /image_mean is missing/)
  const poolformer = { image_processor_type: 'PoolFormerImageProcessor', size: { shortest_edge: 90 } }
  assert.deepEqual(load(poolformer).resize, { to: 'shortest edge', edge: 100, filter: 'bicubic' })
  assert.deepEqual(load({ ...poolformer, crop_pct: null }).resize, {
    to: 'shortest edge',
    edge: 90,
    filter: 'bicubic',
  })
  const convnext = { image_processor_type: 'ConvNextImageProcessor', crop_pct: null }
  assert.equal(load({ ...convnext, size: { shortest_edge: 384 } }).resize?.to, 'size')
})

test('processor_config.json: its image_processor takes precedence, as in transformers', (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'onnxpress-processor-'))
  t.after(() => rmSync(dir, { recursive: true }))
  const write = (name: string, json: object) => writeFileSync(join(dir, name), JSON.stringify(json))
  const load = () => {
    const notes: string[] = []
    return { recipe: loadRecipe(dir, { note: (message) => notes.push(message) })!, notes: notes.join('\n') }
  }
  const image_processor = {
    image_processor_type: 'CLIPImageProcessor',
    size: { shortest_edge: 96 },
    do_center_crop: false,
    crop_size: null,
  }
  write('processor_config.json', { image_processor, processor_class: 'CLIPProcessor' })
  assert.deepEqual(load().recipe.resize, { to: 'shortest edge', edge: 96, filter: 'bicubic' })
  assert.equal(load().notes, '')
  write('preprocessor_config.json', WHOLE)
  assert.match(
    load().notes,
    /preprocessor_config\.json has no effect: image_processor of .* takes precedence/,
  )
  write('processor_config.json', { processor_class: 'BlipProcessor', num_query_tokens: null })
  assert.match(load().notes, /processor_config\.json has no image_processor, and no effect$/)
  assert.equal(load().recipe.resize?.to, 'size')
  write('processor_config.json', { image_processor: { ...image_processor, crop_pct: 1 } })
  assert.match(load().notes, /processor_config\.json: image_processor: crop_pct has no effect$/)
})
