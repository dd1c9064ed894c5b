/** What goes in and comes out, as JSON schemas: of the requests by the schemas that check them. */
import { readFile } from 'node:fs/promises'
import { toJsonSchema } from '@valibot/to-json-schema'
import type { GenericSchema } from 'valibot'
import type { Service } from '../../lib/http/service.ts'
import type { ModelDescription } from '../../lib/inference/description.ts'
import { sizeOf } from '../../lib/inference/tensor.ts'
import { MAX_FILES } from '../../lib/input/image_limit.ts'
import { DataSchema, InstancesSchema } from '../../lib/input/json_input.ts'
import { ListSchema } from '../../lib/input/schema.ts'
import { MetadataSchema } from '../../lib/input/tensor_input.ts'
import { encodePng, FORMATS, sampleDims } from '../../preprocess/index.ts'
import { InferRequestSchema } from '../open_inference_request.ts'
import { DATATYPES } from '../open_inference_tensors.ts'

export type Json = Record<string, unknown>

export const TEXT: Json = { type: 'string' }
export const BINARY: Json = { type: 'string', format: 'binary' }
export const OBJECT: Json = { type: 'object' }
const SCORE: Json = {
  anyOf: [{ type: 'number' }, { type: 'null' }],
  description: 'null where the model gave NaN',
}

/** Larger tensors are not written out in examples. */
const MAX_EXAMPLE = 1000

export function ref(name: string): Json {
  return { $ref: `#/components/schemas/${name}` }
}

export function content(type: string, schema: Json): Json {
  return { [type]: { schema } }
}

/** The schema that checks a request, as JSON schema. */
function requestSchema(schema: GenericSchema): Json {
  const { $schema, ...rest } = toJsonSchema(schema, {
    // what is checked by a function: lists, whose items are looked at later
    errorMode: 'ignore',
    overrideSchema: ({ valibotSchema }) =>
      (valibotSchema as unknown) === ListSchema ? { type: 'array', items: {} } : undefined,
  })
  return rest
}

/** The components of the document. */
export function schemas(model: ModelDescription): Json {
  const { answer, name, version } = model
  const label = { ...TEXT, enum: [...new Set(answer.labels)] }
  const predictions = { type: 'array', items: ref('Prediction') }
  const results: Record<string, Json> = {
    'single-label': {
      ...OBJECT,
      required: ['label', 'score', 'predictions'],
      properties: { label: ref('Label'), score: SCORE, predictions },
    },
    'multi-label': { ...OBJECT, required: ['predictions'], properties: { predictions } },
    regression: {
      ...OBJECT,
      required: ['prediction'],
      properties: {
        input: SCORE,
        prediction: { anyOf: [SCORE, { type: 'array', items: SCORE }] },
      },
    },
    tensors: { ...OBJECT, description: 'none: the model has several inputs' },
  }
  const torchServe: Json =
    answer.kind === 'regression'
      ? { type: 'array', items: SCORE }
      : { ...OBJECT, additionalProperties: SCORE, description: 'label to score, best first' }
  const output = {
    ...OBJECT,
    required: ['name', 'datatype', 'shape'],
    properties: {
      name: { enum: model.outputs.map((spec) => spec.name) },
      datatype: { enum: Object.values(DATATYPES) },
      shape: { type: 'array', items: { type: 'integer' } },
      data: { type: 'array', items: {} },
      parameters: OBJECT,
    },
  }
  return {
    Label: label,
    Prediction: {
      ...OBJECT,
      required: ['label', 'score'],
      properties: { label: ref('Label'), score: SCORE },
    },
    Result: results[answer.kind],
    Results: {
      description: 'Of one input its result, of several a list of theirs.',
      anyOf: [ref('Result'), { type: 'array', items: ref('Result') }],
    },
    TorchServeResults: { anyOf: [torchServe, { type: 'array', items: torchServe }] },
    V1Predictions: {
      ...OBJECT,
      required: ['predictions'],
      properties: { predictions: { type: 'array', items: ref('Result') } },
    },
    Model: {
      ...OBJECT,
      required: ['name', 'version', 'device', 'input', 'kind', 'labels', 'limits'],
      properties: {
        name: { const: name },
        version: { const: version },
        device: TEXT,
        input: OBJECT,
        inputs: { type: 'array', items: OBJECT },
        outputs: { type: 'array', items: OBJECT },
        kind: { const: answer.kind },
        labels: { type: 'array', items: ref('Label') },
        threshold: { type: 'number' },
        sample: TEXT,
        limits: OBJECT,
      },
    },
    Metadata: requestSchema(MetadataSchema),
    Data: requestSchema(DataSchema),
    Instances: requestSchema(InstancesSchema),
    InferRequest: requestSchema(InferRequestSchema),
    InferResponse: {
      ...OBJECT,
      required: ['model_name', 'model_version', 'outputs'],
      properties: {
        model_name: { const: name },
        model_version: { const: version },
        id: TEXT,
        outputs: { type: 'array', items: output },
      },
    },
    Problem: {
      description: 'RFC 9457',
      ...OBJECT,
      required: ['type', 'title', 'status', 'detail'],
      properties: { type: TEXT, title: TEXT, status: { type: 'integer' }, detail: TEXT },
    },
    TorchServeError: {
      ...OBJECT,
      required: ['code', 'type', 'message'],
      properties: { code: { type: 'integer' }, type: TEXT, message: TEXT },
    },
    Error: { ...OBJECT, required: ['error'], properties: { error: TEXT } },
  }
}

/** Everything that /predict reads, as far as the model can take it. */
export async function inputBody({ model }: Service): Promise<Json> {
  const { recipe, answer } = model
  const dims = sampleDims(model.input, model.recipe)
  const isSmall = sizeOf(dims) <= MAX_EXAMPLE
  const isScalar = sizeOf(dims) === 1 && !recipe
  const tensor = { data: new Array<number>(sizeOf(dims)).fill(0), dims }
  const images = recipe && { images: { value: { instances: [{ b64: await exampleImage(model) }] } } }
  const examples = { ...images, ...(isSmall && { tensor: { value: tensor } }) }
  const image = {
    image: { ...BINARY, description: `${FORMATS}; any name will do, up to ${MAX_FILES} files` },
  }
  const form = {
    ...OBJECT,
    properties: {
      ...(recipe && image),
      ...(isScalar && { value: { type: 'number' } }),
      data: { ...BINARY, description: "little-endian bytes of a tensor, which 'metadata' describes" },
      metadata: ref('Metadata'),
    },
  }
  if (answer.kind === 'tensors') return content('application/octet-stream', BINARY)
  return {
    'multipart/form-data': { schema: form, encoding: { metadata: { contentType: 'application/json' } } },
    'application/json': { schema: { anyOf: [ref('Data'), ref('Instances')] }, examples },
    'application/octet-stream': {
      schema: { ...BINARY, description: recipe ? 'an image, or with dims a tensor' : 'with dims, a tensor' },
    },
    ...(isScalar && {
      'text/plain': { schema: TEXT, examples: { five: { value: '5' } } },
      'application/x-www-form-urlencoded': {
        schema: { ...OBJECT, required: ['value'], properties: { value: { type: 'number' } } },
      },
    }),
  }
}

/** The folder's sample, or a small grey square, in base64. */
async function exampleImage({ samplePath, recipe }: ModelDescription): Promise<string> {
  const sample = samplePath && (await readFile(samplePath, 'base64').catch(() => undefined))
  if (sample) return sample
  const channels = recipe?.channels ?? 3
  const png = encodePng({
    data: new Uint8Array(64 * channels).fill(128),
    width: 8,
    height: 8,
    channels,
  })
  return Buffer.from(png).toString('base64')
}

/** A request of one sample of zeros, where that is short. */
export function inferExample({ inputs, recipe }: ModelDescription): Json {
  const tensors = inputs.map((input, index) => {
    const { name, dtype } = input
    const shape = [1, ...sampleDims(input, index === 0 ? recipe : undefined)]
    const zero = dtype === 'string' ? '' : dtype === 'bool' ? false : 0
    return { name, datatype: DATATYPES[dtype], shape, data: new Array(sizeOf(shape)).fill(zero) }
  })
  const isShort = tensors.every(({ data, datatype }) => data.length <= MAX_EXAMPLE && datatype !== 'FP16')
  return isShort ? { examples: { zeros: { value: { inputs: tensors } } } } : {}
}
