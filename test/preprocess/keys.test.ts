import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import fc from 'fast-check'
import { ConfigError, KNOWN_KEYS, type Recipe, readRecipe } from '../../preprocess/index.ts'

type Json = Record<string, unknown>

const CLASSES: string[] = Object.keys(
  JSON.parse(readFileSync(new URL('../../preprocess/config/processors.json', import.meta.url), 'utf8'))
    .defaults,
)

/** A file in which every key has an effect. */
const BASE: Json = {
  do_resize: true,
  size: 64,
  resample: 2,
  do_center_crop: true,
  crop_size: 64,
  do_rescale: true,
  rescale_factor: 0.5,
  do_normalize: true,
  image_mean: 0.4,
  image_std: 0.2,
}

/** Keys without an effect on the tensor of one image, whatever their value. */
const QUIET = [
  ...['_valid_processor_keys', 'auto_map', 'device', 'disable_grouping', 'do_convert_annotations', 'do_pad'],
  ...['do_reduce_labels', 'feature_extractor_type', 'format', 'image_seq_length', 'input_data_format'],
  ...['processor_class', 'return_tensors'],
]

/** What a class needs instead: RTDetr takes no single number. */
const NEEDED: Record<string, Json> = { RTDetr: { size: { height: 64, width: 64 } } }

/**
 * Keys without an effect in one class: the image has the crop's size already; a square is always a shortest edge, or
 * never.
 */
const SAME = ['ConvNext do_center_crop', 'PoolFormer default_to_square', 'RTDetr default_to_square']

interface Reading {
  recipe?: Recipe
  /** notes, or the refusal */
  messages: string
}

function read(json: Json, name?: string): Reading {
  const notes: string[] = []
  const note = (message: string) => notes.push(message)
  const type = name && { image_processor_type: `${name}ImageProcessor` }
  try {
    const recipe = readRecipe(
      { preprocessor: { path: 'file', json: { ...BASE, ...NEEDED[name ?? ''], ...json, ...type } } },
      { note },
    )
    return { recipe, messages: notes.join('\n') }
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error))
    assert.ok(!error.message.includes('\n'))
    return { messages: error.message }
  }
}

const className = fc.constantFrom(undefined, ...CLASSES)

test('an unknown key is noted', () => {
  const key = fc
    .string({ minLength: 1 })
    .filter((text) => !KNOWN_KEYS.preprocessor.includes(text) && !(text in {}))
  fc.assert(
    fc.property(className, key, fc.jsonValue(), (name, unknown, value) => {
      fc.pre(
        value !== null &&
          ![
            'mean',
            'std',
            'backend',
            'pillow_version',
            'grayscale',
            'crop_rounding',
            'fuse_normalize',
          ].includes(unknown),
      )
      assert.ok(read({ [unknown]: value }, name).messages.includes(`file: ${unknown} has no effect`))
    }),
    { numRuns: 1000 },
  )
})

test('a mistyped key is noted, with the correct one', () => {
  const served = [
    ...Object.keys(BASE).filter((key) => key !== 'size'),
    'do_flip_channel_order',
    'do_convert_rgb',
    'backend',
    'pillow_version',
    'grayscale',
  ]
  const edit = fc.constantFrom<(key: string, at: number) => string>(
    (key, at) => key.slice(0, at) + key.slice(at + 1),
    (key, at) => `${key.slice(0, at)}x${key.slice(at)}`,
    (key, at) => key.slice(0, at) + (key[at + 1] ?? '') + key[at] + key.slice(at + 2),
    (key) => key.toUpperCase(),
  )
  fc.assert(
    fc.property(className, fc.constantFrom(...served), fc.nat(30), edit, (name, key, place, change) => {
      const mistyped = change(key, place % key.length)
      fc.pre(
        mistyped !== key &&
          !(name === 'Segformer' && key.includes('crop')) &&
          !(name === 'MobileViT' && /norm|mean|std/.test(key)),
      )
      const { messages } = read({ [mistyped]: 1 }, name)
      assert.match(messages, new RegExp(`file: ${mistyped} has no effect: did you mean \\w+\\?`))
    }),
    { numRuns: 1000 },
  )
})

test('a served key with a wrong value is refused, and named', () => {
  const wrong: Record<string, fc.Arbitrary<unknown>> = {
    size: fc.constantFrom(
      '64',
      0,
      -1,
      1.5,
      [],
      [64],
      [64, 64, 64],
      {},
      { height: 64 },
      { width: 'x', height: 1 },
      true,
    ),
    crop_size: fc.constantFrom('64', 0, -1, 1e9, [], {}, { height: 64 }, { shortest_edge: 64 }, false),
    resample: fc.oneof(fc.integer({ min: 6 }), fc.integer({ max: -1 }), fc.string(), fc.constant([2])),
    rescale_factor: fc.constantFrom('1/255', [], {}, Number.POSITIVE_INFINITY),
    image_mean: fc.constantFrom('0.5', [], [0.5, 0.5, 'x'], [1, 2, 3, 4], {}),
    image_std: fc.constantFrom('0.5', [], [0.5], [0.5, 0.5, 0], 0, {}),
    backend: fc.string(),
    pillow_version: fc.oneof(fc.string(), fc.integer({ max: 0 })),
    grayscale: fc.oneof(fc.string(), fc.boolean()),
    crop_rounding: fc.oneof(fc.string(), fc.integer()),
    data_format: fc.oneof(fc.string(), fc.integer()),
  }
  const booleans = [
    'do_resize',
    'do_center_crop',
    'do_rescale',
    'do_normalize',
    'do_flip_channel_order',
    'do_convert_rgb',
  ]
  const notBoolean = fc.oneof(fc.string(), fc.integer(), fc.constant([true]), fc.constant({}))
  for (const key of booleans) wrong[key] = notBoolean
  const keyAndValue = fc
    .constantFrom(...Object.keys(wrong))
    .chain((key) => fc.tuple(fc.constant(key), wrong[key]))
  fc.assert(
    fc.property(className, keyAndValue, (name, [key, value]) => {
      const { recipe, messages } = read({ [key]: value }, name)
      assert.match(messages, new RegExp(`\\b${key}\\b`))
      // in some classes, or with a step turned off, the key is not read
      assert.ok(!recipe || /no effect/.test(messages), `${messages} of ${key} is only noted`)
    }),
    { numRuns: 3000 },
  )
})

test('every key that transformers writes has an effect, is noted or is refused, in every class', () => {
  const values = [
    true,
    false,
    0,
    1,
    3,
    0.25,
    70,
    [0.1, 0.2, 0.3],
    'nearest',
    'channels_last',
    { shortest_edge: 70 },
  ]
  for (const name of [undefined, ...CLASSES]) {
    for (const key of KNOWN_KEYS.preprocessor) {
      if (QUIET.includes(key) || key === 'image_processor_type' || key === 'pretrained_cfg') continue
      const without = read({}, name)
      assert.ok(without.recipe, `${name}: ${without.messages}`)
      const silent = values.filter((value) => {
        const { recipe, messages } = read({ [key]: value }, name)
        return !messages.includes(key) && JSON.stringify(recipe) === JSON.stringify(without.recipe)
      })
      if (SAME.includes(`${name} ${key}`)) continue
      // only the default value may go unnoticed
      assert.ok(silent.length <= 1, `${key} of ${name}: ${JSON.stringify(silent)} go unnoticed`)
    }
  }
})

test('an unknown key of pretrained_cfg is noted; a wrong value is refused', () => {
  const noted = (pretrained_cfg: Json) => {
    const notes: string[] = []
    try {
      readRecipe(
        { config: { path: 'file', json: { pretrained_cfg } } },
        { note: (message) => notes.push(message) },
      )
    } catch (error) {
      assert.ok(error instanceof ConfigError)
      return error.message
    }
    return notes.join('\n')
  }
  assert.equal(noted({ architecture: 'resnet18', license: 'mit', first_conv: 'conv1', num_classes: 3 }), '')
  assert.match(
    noted({ interpolatoin: 'x' }),
    /pretrained_cfg: interpolatoin has no effect: did you mean interpolation\?$/,
  )
  assert.match(noted({ foo: 1 }), /pretrained_cfg: foo has no effect$/)
  for (const [key, value] of Object.entries({
    input_size: [224, 224],
    crop_pct: 'x',
    crop_mode: 'no',
    interpolation: 'x',
    mean: [1, 2],
  }))
    assert.ok(noted({ [key]: value }).includes(key), key)
})
