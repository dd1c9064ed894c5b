/**
 * The JSON schemas of requests and responses. Where generated clients need it, they are simpler than the truth: the
 * response to one input instead of one or several, labels as any string, one form of a body for each route and method.
 */
import { toJsonSchema } from '@valibot/to-json-schema'
import type { GenericSchema } from 'valibot'
import { DTYPES } from '../../lib/inference/tensor.ts'
import { MAX_FILES } from '../../lib/input/input.ts'
import { ListSchema } from '../../lib/input/schema.ts'
import { MetadataSchema } from '../../lib/input/tensor_body.ts'
import type { ModelInfo } from '../../lib/model/model_info.ts'
import { FORMATS } from '../../preprocess/index.ts'
import { InferRequestSchema } from '../open_inference/request.ts'
import { DATATYPES } from '../open_inference/tensors.ts'

export type Json = Record<string, unknown>

export const TEXT: Json = { type: 'string' }
export const BINARY: Json = { type: 'string', format: 'binary' }
const NUMBER: Json = { type: 'number' }
const INTEGER: Json = { type: 'integer' }
const BOOLEAN: Json = { type: 'boolean' }
const ANY: Json = { type: 'object' }
const SCORE: Json = { type: ['number', 'null'], description: "null where the model's output is NaN" }

export function ref(name: string): Json {
  return { $ref: `#/components/schemas/${name}` }
}

export function list(items: Json): Json {
  return { type: 'array', items }
}

/** An object with these properties; those whose name ends in `?` may be missing. */
export function object(properties: Record<string, Json>): Json {
  const entries = Object.entries(properties)
  const required = entries.flatMap(([name]) => (name.endsWith('?') ? [] : name))
  const named = Object.fromEntries(entries.map(([name, schema]) => [name.replace('?', ''), schema]))
  return { type: 'object', ...(required.length > 0 && { required }), properties: named }
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

/** The result of one input, in our own format and in TorchServe's. */
function resultSchemas({ kind, labels }: ModelInfo['outputSpec']): Json {
  const predictions = list(ref('Prediction'))
  if (kind === 'regression') {
    const prediction = labels.length === 1 ? SCORE : list(SCORE)
    return { Result: object({ 'input?': NUMBER, prediction }), TorchServeResult: list(SCORE) }
  }
  return {
    Prediction: object({ label: TEXT, score: SCORE }),
    Result: object(kind === 'multi-label' ? { predictions } : { label: TEXT, score: SCORE, predictions }),
    TorchServeResult: {
      type: 'object',
      additionalProperties: SCORE,
      description: 'label to score, best first',
    },
  }
}

/** What is sent: forms, tensors, and images in JSON. */
function inputSchemas({ recipe }: ModelInfo): Json {
  const image = {
    ...BINARY,
    description: `${FORMATS}; any field name will do, and up to ${MAX_FILES} files, which get a list of results`,
  }
  const data = { ...BINARY, description: 'little-endian bytes; without metadata, an image file' }
  const numbers = { type: 'array', items: {}, description: 'numbers, flat or nested' }
  return {
    ImageForm: object({ image }),
    TensorForm: object({ data, 'metadata?': ref('Metadata') }),
    Metadata: requestSchema(MetadataSchema),
    Data: object({ data: numbers, 'dims?': list(INTEGER) }),
    Instances: object({ instances: list(recipe ? ref('Image') : {}) }),
    Image: object({ b64: { ...TEXT, description: 'an image file in base64' } }),
  }
}

function modelSchema(): Json {
  const spec = { name: TEXT, dtype: { enum: [...DTYPES] }, dims: { type: 'array', items: {} } }
  return object({
    name: TEXT,
    version: TEXT,
    'source?': TEXT,
    device: TEXT,
    input: object({ ...spec, takesImages: BOOLEAN }),
    inputs: list(object(spec)),
    outputs: list(object(spec)),
    kind: { enum: ['single-label', 'multi-label', 'regression'] },
    labels: list(TEXT),
    notes: list(TEXT),
    'threshold?': NUMBER,
    'sample?': TEXT,
    samples: list(TEXT),
    limits: object({ maxUploadBytes: INTEGER, maxPixels: INTEGER, maxQueue: INTEGER, maxBatchSize: INTEGER }),
  })
}

function inferResponseSchema(): Json {
  const output = object({
    name: TEXT,
    datatype: { enum: [...Object.values(DATATYPES), 'BYTES'] },
    shape: list(INTEGER),
    'data?': { type: 'array', items: {} },
    'parameters?': ANY,
  })
  return object({ model_name: TEXT, model_version: TEXT, 'id?': TEXT, outputs: list(output) })
}

/** The components of the document. */
export function schemas(model: ModelInfo): Json {
  return {
    ...resultSchemas(model.outputSpec),
    ...inputSchemas(model),
    Model: modelSchema(),
    Predictions: object({ predictions: list(ref('Result')) }),
    InferRequest: requestSchema(InferRequestSchema),
    InferResponse: inferResponseSchema(),
    Status: object({ status: TEXT }),
    Readiness: object({ 'name?': TEXT, ready: BOOLEAN }),
    Problem: {
      ...object({ type: TEXT, title: TEXT, status: INTEGER, detail: TEXT }),
      description: 'RFC 9457',
    },
    TorchServeError: object({ code: INTEGER, type: TEXT, message: TEXT }),
    ErrorMessage: object({ error: TEXT }),
  }
}
