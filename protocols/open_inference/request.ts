/** An inference request: the input tensor, and the requested outputs with their encodings. */
import * as v from 'valibot'
import type { AdmittedContext } from '../../lib/http/admission.ts'
import { RequestError } from '../../lib/inference/errors.ts'
import { bytesPerElement, sizeOf, type Tensor, type TensorSpec, toBytes } from '../../lib/inference/tensor.ts'
import { readBody } from '../../lib/input/body.ts'
import { checkTextSize, LONG_TEXT } from '../../lib/input/input.ts'
import { checkJsonSize } from '../../lib/input/json_body.ts'
import { checkSchema, DimsSchema, ListSchema, record, shortList } from '../../lib/input/schema.ts'
import { maxUploadBytes } from '../../lib/process/settings.ts'
import { threadFunction } from '../../lib/workers/thread_pool.ts'
import type { Service } from '../service.ts'
import { parseExactly } from './exact_json.ts'
import { DATATYPES, fromBinary, fromList } from './tensors.ts'

/** The length of the JSON before the binary tensors, in bytes. */
export const JSON_LENGTH_HEADER = 'inference-header-content-length'

// errors repeat the name
const NameSchema = v.pipe(v.string(), v.maxLength(200))
const CountSchema = (min: number) => v.nullish(v.pipe(v.number(), v.safeInteger(), v.minValue(min)))

export const InferRequestSchema = record({
  id: v.nullish(v.string()),
  inputs: v.pipe(
    shortList(
      record({
        name: NameSchema,
        datatype: v.picklist([...Object.values(DATATYPES), 'BYTES']),
        shape: DimsSchema,
        data: v.nullish(ListSchema),
        parameters: v.nullish(record({ binary_data_size: CountSchema(0) })),
      }),
    ),
    v.minLength(1),
  ),
  outputs: v.nullish(
    shortList(
      record({
        name: NameSchema,
        parameters: v.nullish(
          record({ binary_data: v.nullish(v.boolean()), classification: CountSchema(1) }),
        ),
      }),
    ),
  ),
  parameters: v.nullish(record({ binary_data_output: v.nullish(v.boolean()) })),
})
type InferRequest = v.InferOutput<typeof InferRequestSchema>
type InferInput = InferRequest['inputs'][number]

export interface Inference {
  id?: string
  /** [n, ...] */
  input: Tensor
  outputs: RequestedOutput[]
}

export interface RequestedOutput {
  spec: TensorSpec
  isBinary: boolean
  /** number of best classes to send instead of the values */
  classes?: number
}

/** The interface of the graph, which a request must fit. */
interface GraphSpec {
  input: TensorSpec
  outputs: readonly TensorSpec[]
}

interface Task {
  body: Uint8Array
  /** the binary tensors follow; undefined when the whole body is JSON */
  jsonLength: number | undefined
  graph: GraphSpec
}

/**
 * @returns a function that reads one request and reserves room in the queue for its samples; it throws RequestError 400
 * for what does not fit the protocol or the model, 413 for too much, 503 when the queue is full
 */
export function createInferenceReader({ model, settings, threads }: Service) {
  const { input, outputs } = model
  const maxBytes = maxUploadBytes(settings)

  return async (ctx: AdmittedContext): Promise<Inference> => {
    const body = await readBody(ctx.req, maxBytes, ctx.reservation)
    const jsonLength = readJsonLength(ctx.req.get(JSON_LENGTH_HEADER), body.length)
    const textLength = jsonLength ?? body.length
    checkTextSize(textLength)
    const isText = textLength === body.length
    const task: Task = { body, jsonLength, graph: { input, outputs } }
    const inference = await (textLength < LONG_TEXT
      ? readTask(task)
      : threads.run<Inference>(READ_INFERENCE, task, ctx.signal, [body.buffer]))
    if (isText) ctx.reservation.countTensors(inference.input.data.byteLength)
    ctx.reservation.reserve(inference.input.dims[0])
    ctx.reservation.own(inference.input.data.buffer as ArrayBuffer)
    return inference
  }
}

function readJsonLength(header: string | undefined, bodyLength: number): number | undefined {
  if (header === undefined) return undefined
  if (/^\d+$/.test(header) && Number(header) <= bodyLength) return Number(header)
  throw new RequestError(
    400,
    `Inference-Header-Content-Length is ${JSON.stringify(header)}: expected a whole number, at most the ${bodyLength} bytes of the body`,
  )
}

function readTask({ body, jsonLength = body.length, graph }: Task): Inference {
  const bytes = toBytes(body)
  if (jsonLength === 0 && bytes.length > 0) return readRaw(bytes, graph)
  checkJsonSize(bytes.subarray(0, jsonLength))
  const { json, exact } = parseExactly(bytes.toString('utf8', 0, jsonLength), 'the request')
  const request = checkSchema(InferRequestSchema, json, 'the request')
  // both have the same structure; only data may have integers that a double cannot represent
  const exactInputs = (exact as InferRequest).inputs
  request.inputs.forEach((input, index) => {
    input.data = exactInputs[index].data
  })
  return {
    id: request.id ?? undefined,
    input: readTensor(request.inputs, bytes.subarray(jsonLength), graph.input),
    outputs: readOutputs(request, graph),
  }
}

export const readInferenceInThread = threadFunction(readTask, ({ input }) => [input.data])
const READ_INFERENCE = { file: import.meta.filename, name: 'readInferenceInThread' }

/** A body without JSON: the bytes of one sample; all outputs are sent in binary. */
function readRaw(body: Buffer, { input, outputs }: GraphSpec): Inference {
  const { dtype, dims } = input
  const sample = dims.slice(1)
  const free = sample.filter((dim) => typeof dim === 'string').length
  const known = sizeOf(sample.filter((dim) => typeof dim === 'number'))
  const elements = body.length / bytesPerElement(dtype)
  const rest = free === 1 ? elements / known : 1
  if (free > 1 || elements !== known * rest || !Number.isInteger(rest)) {
    const detail = `${body.length} bytes are not one sample of [${sample}] of ${DATATYPES[dtype]}: send JSON with its shape`
    throw new RequestError(400, detail)
  }
  const shape = [1, ...sample.map((dim) => (typeof dim === 'number' ? dim : rest))]
  return {
    input: fromBinary(dtype, shape, body),
    outputs: outputs.map((spec) => ({ spec, isBinary: true })),
  }
}

/** @param binary the bytes after the JSON */
function readTensor(inputs: InferInput[], binary: Buffer, spec: TensorSpec): Tensor {
  for (const { name } of inputs) {
    if (name !== spec.name)
      throw new RequestError(400, `input ${name} is unknown: the model's input is ${spec.name}`)
  }
  if (inputs.length > 1) throw new RequestError(400, `input ${spec.name} is given ${inputs.length} times`)
  const [{ name, datatype, shape, data, parameters }] = inputs
  if (datatype !== DATATYPES[spec.dtype]) {
    throw new RequestError(
      400,
      `input ${name} has the datatype ${datatype}, expected ${DATATYPES[spec.dtype]}`,
    )
  }
  checkShape(shape, spec)
  const size = parameters?.binary_data_size
  if (Boolean(data) === (size != null)) {
    throw new RequestError(400, `input ${name}: expected either data or parameters.binary_data_size`)
  }
  if ((size ?? 0) !== binary.length) {
    const detail = `input ${name}: binary_data_size is ${size ?? 0}, but ${binary.length} bytes follow the JSON`
    throw new RequestError(400, detail)
  }
  return data ? fromList(spec.dtype, shape, data) : fromBinary(spec.dtype, shape, binary)
}

/** The requested outputs; all when the request names none. */
function readOutputs(request: InferRequest, { outputs }: GraphSpec): RequestedOutput[] {
  const isBinaryByDefault = request.parameters?.binary_data_output ?? false
  if (!request.outputs?.length) return outputs.map((spec) => ({ spec, isBinary: isBinaryByDefault }))
  const seen = new Set<string>()
  return request.outputs.map(({ name, parameters }) => {
    const spec = outputs.find((output) => output.name === name)
    if (!spec) {
      const names = outputs.map((output) => output.name).join(', ')
      throw new RequestError(400, `output ${name} is unknown: the model has ${names}`)
    }
    if (seen.has(name)) throw new RequestError(400, `output ${name} is requested twice`)
    seen.add(name)
    const classes = parameters?.classification ?? undefined
    return { spec, isBinary: parameters?.binary_data ?? isBinaryByDefault, classes }
  })
}

/** @throws RequestError 400 where a dim other than the batch is not the model's */
function checkShape(shape: number[], { name, dims }: TensorSpec): void {
  const fits =
    shape.length === dims.length &&
    dims.every((dim, axis) => axis === 0 || typeof dim === 'string' || dim === shape[axis])
  if (fits) return
  const expected = dims.map((dim, axis) => (axis === 0 ? 'n' : dim || '?'))
  throw new RequestError(400, `input ${name} has the shape [${shape}], expected [${expected}]`)
}
