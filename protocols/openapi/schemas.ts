/** The JSON schemas of requests and responses; those of requests are made from the schemas that check them. */
import { toJsonSchema } from '@valibot/to-json-schema'
import type { GenericSchema } from 'valibot'
import { DataSchema, InstancesSchema } from '../../lib/input/json_body.ts'
import { ListSchema } from '../../lib/input/schema.ts'
import { MetadataSchema } from '../../lib/input/tensor_body.ts'
import type { ModelInfo } from '../../lib/model/model_info.ts'
import { InferRequestSchema } from '../open_inference/request.ts'
import { DATATYPES } from '../open_inference/tensors.ts'

export type Json = Record<string, unknown>

export const TEXT: Json = { type: 'string' }
export const BINARY: Json = { type: 'string', format: 'binary' }
export const OBJECT: Json = { type: 'object' }
const SCORE: Json = {
  anyOf: [{ type: 'number' }, { type: 'null' }],
  description: "null where the model's output is NaN",
}

export function ref(name: string): Json {
  return { $ref: `#/components/schemas/${name}` }
}

export function content(type: string, schema: Json): Json {
  return { [type]: { schema } }
}

/** A schema that checks requests, as JSON schema. */
function requestSchema(schema: GenericSchema): Json {
  const { $schema, ...rest } = toJsonSchema(schema, {
    // lists are checked by a function
    errorMode: 'ignore',
    overrideSchema: ({ valibotSchema }) =>
      (valibotSchema as unknown) === ListSchema ? { type: 'array', items: {} } : undefined,
  })
  return rest
}

/** The result of one sample, by the kind of model. */
function resultSchema({ outputSpec }: ModelInfo): Json {
  const predictions = { type: 'array', items: ref('Prediction') }
  switch (outputSpec.kind) {
    case 'single-label':
      return {
        ...OBJECT,
        required: ['label', 'score', 'predictions'],
        properties: { label: ref('Label'), score: SCORE, predictions },
      }
    case 'multi-label':
      return { ...OBJECT, required: ['predictions'], properties: { predictions } }
    case 'regression':
      return {
        ...OBJECT,
        required: ['prediction'],
        properties: { input: SCORE, prediction: { anyOf: [SCORE, { type: 'array', items: SCORE }] } },
      }
  }
}

function resultSchemas(model: ModelInfo): Json {
  const torchServe: Json =
    model.outputSpec.kind === 'regression'
      ? { type: 'array', items: SCORE }
      : { ...OBJECT, additionalProperties: SCORE, description: 'label to score, best first' }
  return {
    Label: { ...TEXT, enum: [...new Set(model.outputSpec.labels)] },
    Prediction: {
      ...OBJECT,
      required: ['label', 'score'],
      properties: { label: ref('Label'), score: SCORE },
    },
    Result: resultSchema(model),
    Results: {
      description: 'The result of one input, or a list of the results of several.',
      anyOf: [ref('Result'), { type: 'array', items: ref('Result') }],
    },
    TorchServeResults: { anyOf: [torchServe, { type: 'array', items: torchServe }] },
    V1Predictions: {
      ...OBJECT,
      required: ['predictions'],
      properties: { predictions: { type: 'array', items: ref('Result') } },
    },
  }
}

function modelSchema({ name, version, outputSpec }: ModelInfo): Json {
  return {
    ...OBJECT,
    required: ['name', 'version', 'device', 'input', 'kind', 'labels', 'notes', 'limits'],
    properties: {
      name: { const: name },
      version: { const: version },
      device: TEXT,
      input: OBJECT,
      inputs: { type: 'array', items: OBJECT },
      outputs: { type: 'array', items: OBJECT },
      kind: { const: outputSpec.kind },
      labels: { type: 'array', items: ref('Label') },
      threshold: { type: 'number' },
      notes: { type: 'array', items: TEXT },
      sample: TEXT,
      limits: OBJECT,
    },
  }
}

function inferResponseSchema({ name, version, outputs }: ModelInfo): Json {
  const output = {
    ...OBJECT,
    required: ['name', 'datatype', 'shape'],
    properties: {
      name: { enum: outputs.map((spec) => spec.name) },
      datatype: { enum: [...Object.values(DATATYPES), 'BYTES'] },
      shape: { type: 'array', items: { type: 'integer' } },
      data: { type: 'array', items: {} },
      parameters: OBJECT,
    },
  }
  return {
    ...OBJECT,
    required: ['model_name', 'model_version', 'outputs'],
    properties: {
      model_name: { const: name },
      model_version: { const: version },
      id: TEXT,
      outputs: { type: 'array', items: output },
    },
  }
}

/** The components of the document. */
export function schemas(model: ModelInfo): Json {
  return {
    ...resultSchemas(model),
    Model: modelSchema(model),
    Metadata: requestSchema(MetadataSchema),
    Data: requestSchema(DataSchema),
    Instances: requestSchema(InstancesSchema),
    InferRequest: requestSchema(InferRequestSchema),
    InferResponse: inferResponseSchema(model),
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
