/** Turns a client's numbers (bytes, a list or text) into a tensor that fits the model's input. */
import * as v from 'valibot'
import { RequestError } from '../inference/errors.ts'
import {
  bytesPerElement,
  convert,
  DTYPES,
  type Dtype,
  fromBytes,
  sizeOf,
  type Tensor,
  type TensorSpec,
} from '../inference/tensor.ts'
import { threadFunction } from '../workers/thread_pool.ts'
import { flatten, nestingOf } from './nested_lists.ts'
import { checkSchema, DimsSchema, record } from './schema.ts'

const EXAMPLE = '{"dims":[1,28,28]}'

/**
 * Describes raw bytes. `dtype`, which may be missing, comes first: in the other order, V8 (Node 24) recompiles the library's
 * check after every hundred requests with `?dims=`, for as long as they come.
 */
export const MetadataSchema = record(
  { dtype: v.optional(v.picklist(DTYPES)), dims: DimsSchema },
  `an object such as ${EXAMPLE}`,
)
export type Metadata = v.InferOutput<typeof MetadataSchema>

/** @throws RequestError 400 naming the key */
export function checkMetadata(json: unknown): Metadata {
  return checkSchema(MetadataSchema, json, 'metadata', EXAMPLE)
}

/**
 * @param bytes little-endian, row-major
 * @returns [n, ...] in the dtype of the bytes
 * @throws RequestError 400 when dims, dtype, the number of bytes and the model do not fit together
 */
export function tensorFromBytes(bytes: Uint8Array, { dims, dtype }: Metadata, spec: TensorSpec): Tensor {
  const given = dtype ?? spec.dtype
  const fitted = fitDims(dims, spec)
  const expected = sizeOf(dims) * bytesPerElement(given)
  if (bytes.length !== expected) {
    const asked = `dims [${dims}] of ${given} are ${expected} bytes`
    throw new RequestError(
      400,
      `${asked}, but the data has ${bytes.length}: send as many as the dims say, or other dims`,
    )
  }
  return { dtype: given, dims: fitted, data: fromBytes(given, bytes) }
}

export const convertInThread = threadFunction(
  ({ tensor, dtype }: { tensor: Tensor; dtype: Dtype }) => convert(tensor, dtype),
  ({ data }) => [data],
)
/** `convert` in a thread. */
export const CONVERT = { file: import.meta.filename, name: 'convertInThread' }

/**
 * @param data numbers, nested or flat
 * @param dims undefined: those of the nesting
 * @throws RequestError 400 when it is ragged, has anything but numbers, or does not fit the model
 */
export function tensorFromNumbers(data: unknown, dims: number[] | undefined, spec: TensorSpec): Tensor {
  const nesting = nestingOf(data)
  const size = sizeOf(nesting)
  // for a model of one number, a flat list is a batch
  const isFlatBatch = isScalar(spec) && nesting.length === 1
  const shape = dims ?? (isFlatBatch ? [size, ...spec.dims.slice(1).map(() => 1)] : nesting)
  if (sizeOf(shape) !== size) {
    throw new RequestError(
      400,
      `dims [${shape}] are ${sizeOf(shape)} numbers, but the data has ${size}: they must agree`,
    )
  }
  const fitted = fitDims(shape, spec)
  const numbers = Float64Array.from(flatten(data, nesting, 'a number', readNumber))
  return convert({ dtype: 'float64', dims: fitted, data: numbers }, spec.dtype)
}

/** @returns undefined for anything but a number or a truth value */
function readNumber(value: unknown): number | undefined {
  return typeof value === 'number' || typeof value === 'boolean' ? Number(value) : undefined
}

/**
 * One number, for a model whose samples are one number.
 *
 * @throws RequestError 400 when it is not a number, or the model takes more than one
 */
export function tensorFromText(text: string, spec: TensorSpec): Tensor {
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value)) {
    throw new RequestError(400, `${JSON.stringify(text.slice(0, 40))} is not a number: send one, such as 5`)
  }
  if (!isScalar(spec)) {
    throw new RequestError(
      400,
      `the model takes [${shapeOf(spec)}] numbers per sample, not one: send an image or a tensor`,
    )
  }
  return tensorFromNumbers([value], undefined, spec)
}

/** Whether a sample is one number. */
function isScalar({ dims }: TensorSpec): boolean {
  return dims.length <= 2 && dims.slice(1).every((dim) => dim === 1 || typeof dim === 'string')
}

/** The dims of a sample in words: symbolic ones by name. */
function shapeOf(spec: TensorSpec): (number | string)[] {
  return spec.dims.slice(1).map((dim) => dim || '?')
}

/** The dims with the batch axis, which may be left out. */
function fitDims(dims: number[], spec: TensorSpec): number[] {
  const wanted = spec.dims.slice(1)
  const batched = dims.length === wanted.length ? [1, ...dims] : dims
  const fits =
    batched.length === spec.dims.length &&
    wanted.every((dim, axis) => typeof dim === 'string' || dim === batched[axis + 1])
  if (fits) return batched
  const shape = shapeOf(spec)
  const message = `dims [${dims}] do not fit the model's input: send [${shape}], or [${['n', ...shape]}] for a batch of n`
  throw new RequestError(400, message)
}
