/** What a request of the Open Inference Protocol asks: the tensors of all inputs, and which outputs, in which form. */
import type { Request, Response } from 'express'
import * as v from 'valibot'
import { traceOf } from '../lib/http/context.ts'
import { checkSamples } from '../lib/inference/batcher.ts'
import { RequestError } from '../lib/inference/errors.ts'
import { type AnySpec, type AnyTensor, bytesPerElement, sizeOf, toBytes } from '../lib/inference/tensor.ts'
import { readBody } from '../lib/input/body.ts'
import { LONG_JSON } from '../lib/input/json_input.ts'
import { checkJsonSize } from '../lib/input/json_size.ts'
import { checkSchema, DimsSchema, ListSchema, record, shortList } from '../lib/input/schema.ts'
import { inThread, type ThreadPool } from '../lib/workers/thread_pool.ts'
import { DATATYPES, fromBinary, fromList, parseExactly } from './open_inference_tensors.ts'

/** length of the JSON before the binary tensors */
export const HEADER = 'inference-header-content-length'

// a name is repeated in an error's message
const NameSchema = v.pipe(v.string(), v.maxLength(200))

export const InferRequestSchema = record({
  id: v.nullish(v.string()),
  inputs: v.pipe(
    shortList(
      record({
        name: NameSchema,
        datatype: v.picklist(Object.values(DATATYPES)),
        shape: DimsSchema,
        data: v.nullish(ListSchema),
        parameters: v.nullish(
          record({ binary_data_size: v.nullish(v.pipe(v.number(), v.safeInteger(), v.minValue(0))) }),
        ),
      }),
    ),
    v.minLength(1),
  ),
  outputs: v.nullish(
    shortList(
      record({
        name: NameSchema,
        parameters: v.nullish(
          record({
            binary_data: v.nullish(v.boolean()),
            classification: v.nullish(v.pipe(v.number(), v.safeInteger(), v.minValue(1))),
          }),
        ),
      }),
    ),
  ),
  parameters: v.nullish(record({ binary_data_output: v.nullish(v.boolean()) })),
})
type InferRequest = v.InferOutput<typeof InferRequestSchema>

export interface Inference {
  id?: string | null
  /** one for each of the model's inputs, in its order, all with the same batch */
  inputs: AnyTensor[]
  outputs: Wanted[]
}

/** An output that is asked for, and how it is to be sent. */
export interface Wanted {
  spec: AnySpec
  isBinary: boolean
  /** how many of the best classes, instead of the values */
  classes?: number | null
}

/** What a request must fit. */
interface Limits {
  inputs: readonly AnySpec[]
  outputs: readonly AnySpec[]
  maxBytes: number
  /** most samples in a request */
  maxSamples: number
}

interface Task {
  body: Uint8Array
  /** Inference-Header-Content-Length: bytes of JSON, the tensors behind them; undefined for nothing but JSON */
  jsonLength: number | undefined
  limits: Limits
}

/** @throws RequestError 400 for what does not fit the protocol or the model, 413 for too much */
export async function readInference(
  req: Request,
  res: Response,
  limits: Limits,
  threads: ThreadPool,
): Promise<Inference> {
  const { place, interest } = traceOf(res)
  const body = await readBody(req, limits.maxBytes, place)
  const given = req.get(HEADER)
  const jsonLength = given === undefined ? undefined : Number(given)
  if (given !== undefined && !(/^\d+$/.test(given) && Number(given) <= body.length)) {
    throw new RequestError(
      400,
      `Inference-Header-Content-Length is ${JSON.stringify(given)}: expected a whole number, at most the ${body.length} bytes of the body`,
    )
  }
  const task: Task = { body, jsonLength, limits }
  return (jsonLength ?? body.length) < LONG_JSON
    ? readTask(task)
    : threads.run<Inference>(READ_INFERENCE, task, interest, [body.buffer])
}

function readTask({ body, jsonLength = body.length, limits }: Task): Inference {
  const bytes = toBytes(body)
  if (jsonLength === 0 && bytes.length > 0) return readRaw(bytes, limits)
  checkJsonSize(bytes.subarray(0, jsonLength))
  const { json, exact } = parseExactly(bytes.toString('utf8', 0, jsonLength), 'the request')
  const request = checkSchema(InferRequestSchema, json, 'the request')
  // both have one shape; only data may hold numbers that a double does not
  const exactInputs = (exact as InferRequest).inputs
  request.inputs.forEach((input, index) => {
    input.data = exactInputs[index].data
  })
  const inputs = readInputs(request, bytes.subarray(jsonLength), limits)
  return { id: request.id, inputs, outputs: readOutputs(request, limits) }
}

export const readInferenceInThread = inThread(readTask, ({ inputs }) =>
  inputs.flatMap(({ data }) => (Array.isArray(data) ? [] : [data])),
)
const READ_INFERENCE = { file: import.meta.filename, name: 'readInferenceInThread' }

/** A body of nothing but the bytes of one sample, for a model with one input; its answer is binary too. */
function readRaw(body: Buffer, { inputs, outputs }: Limits): Inference {
  const [{ dtype, dims }] = inputs
  if (inputs.length > 1 || dtype === 'string') {
    throw new RequestError(400, `the model has ${inputs.length} inputs: bytes without JSON are for one`)
  }
  const sample = dims.slice(1)
  const open = sample.filter((dim) => typeof dim === 'string').length
  const known = sizeOf(sample.filter((dim) => typeof dim === 'number'))
  const elements = body.length / bytesPerElement(dtype)
  const rest = open === 1 ? elements / known : 1
  if (open > 1 || elements !== known * rest || !Number.isInteger(rest)) {
    const detail = `${body.length} bytes are no sample of [${sample}] of ${DATATYPES[dtype]}: send JSON that says the shape`
    throw new RequestError(400, detail)
  }
  const shape = [1, ...sample.map((dim) => (typeof dim === 'number' ? dim : rest))]
  const wanted = outputs.map((spec) => ({ spec, isBinary: true }))
  return { inputs: [fromBinary(dtype, shape, body)], outputs: wanted }
}

/** @param binary what stands behind the JSON, the inputs' parts in their order */
function readInputs(request: InferRequest, binary: Buffer, { inputs, maxSamples }: Limits): AnyTensor[] {
  const tensors = new Map<string, AnyTensor>()
  let offset = 0
  for (const { name, datatype, shape, data, parameters } of request.inputs) {
    const spec = inputs.find((input) => input.name === name)
    if (!spec) throw new RequestError(400, `input ${name} is unknown: the model has ${namesOf(inputs)}`)
    if (tensors.has(name)) throw new RequestError(400, `input ${name} is there twice`)
    if (datatype !== DATATYPES[spec.dtype]) {
      throw new RequestError(400, `input ${name} is of ${datatype}, expected ${DATATYPES[spec.dtype]}`)
    }
    checkShape(shape, spec)
    checkSamples(shape[0], maxSamples)
    const bytes = parameters?.binary_data_size
    if (data && bytes == null) {
      tensors.set(name, fromList(spec.dtype, shape, data))
      continue
    }
    if (data || bytes == null) {
      throw new RequestError(400, `input ${name}: expected either data or parameters.binary_data_size`)
    }
    if (offset + bytes > binary.length) {
      throw new RequestError(
        400,
        `input ${name}: binary_data_size is ${bytes}, but only ${binary.length - offset} bytes follow`,
      )
    }
    tensors.set(name, fromBinary(spec.dtype, shape, binary.subarray(offset, offset + bytes)))
    offset += bytes
  }
  if (offset !== binary.length) {
    throw new RequestError(400, `${binary.length - offset} bytes follow that no binary_data_size names`)
  }
  const ordered = inputs.map(({ name }) => {
    const tensor = tensors.get(name)
    if (tensor) return tensor
    throw new RequestError(400, `input ${name} is missing: the model wants ${namesOf(inputs)}`)
  })
  const batches = ordered.map(({ dims }) => dims[0])
  if (batches.every((samples) => samples === batches[0])) return ordered
  throw new RequestError(400, `the inputs have batches of ${batches.join(', ')}: expected one size`)
}

/** Those that the request names; if none, all. */
function readOutputs(request: InferRequest, { outputs }: Limits): Wanted[] {
  const byDefault = request.parameters?.binary_data_output ?? false
  if (!request.outputs?.length) return outputs.map((spec) => ({ spec, isBinary: byDefault }))
  const seen = new Set<string>()
  return request.outputs.map(({ name, parameters }) => {
    const spec = outputs.find((output) => output.name === name)
    if (!spec) throw new RequestError(400, `output ${name} is unknown: the model has ${namesOf(outputs)}`)
    if (seen.has(name)) throw new RequestError(400, `output ${name} is asked for twice`)
    seen.add(name)
    const classes = parameters?.classification
    if (classes && spec.dtype === 'string') {
      throw new RequestError(400, `output ${name} is text, which has no best classes`)
    }
    return { spec, isBinary: parameters?.binary_data ?? byDefault, classes }
  })
}

function namesOf(specs: readonly AnySpec[]): string {
  return specs.map(({ name }) => name).join(', ')
}

/** @throws RequestError 400 where a dim other than the batch's is not the model's */
function checkShape(shape: number[], { name, dims }: AnySpec): void {
  const fits =
    shape.length === dims.length &&
    dims.every((dim, axis) => axis === 0 || typeof dim === 'string' || dim === shape[axis])
  if (fits) return
  const wanted = dims.map((dim, axis) => (axis === 0 ? 'n' : dim || '?'))
  throw new RequestError(400, `input ${name} has the shape [${shape}], expected [${wanted}]`)
}
