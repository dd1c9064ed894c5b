/** A client's numbers, as bytes or as a list, to a tensor that fits the model's input. */
import * as v from 'valibot'
import { RequestError } from './errors.ts'
import {
  allocate,
  bytesPerElement,
  convert,
  DTYPES,
  fromBytes,
  sizeOf,
  type Tensor,
  type TensorSpec,
} from './tensor.ts'

const MAX_RANK = 8

export const DimsSchema = v.pipe(
  v.array(v.pipe(v.number(), v.safeInteger(), v.minValue(1))),
  v.maxLength(MAX_RANK),
)
export const MetadataSchema = v.object({ dims: DimsSchema, dtype: v.optional(v.picklist(DTYPES)) })
export type Metadata = v.InferOutput<typeof MetadataSchema>

/** @throws RequestError 400 naming the key */
export function checkMetadata(json: unknown): Metadata {
  const result = v.safeParse(MetadataSchema, json)
  if (result.success) return result.output
  const [{ path, received }] = result.issues
  const key = path?.map((item) => String(item.key)).join('.') || 'metadata'
  const expected =
    key === 'dtype'
      ? `one of ${DTYPES.join(', ')}`
      : `{"dims":[...]} with up to ${MAX_RANK} whole numbers of at least 1, such as [1,28,28]`
  throw new RequestError(400, `${key} is ${received}, expected ${expected}`)
}

/** @throws RequestError 400 when dims, dtype, the number of bytes and the model do not fit together */
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
  return convert({ dtype: given, dims: fitted, data: fromBytes(given, bytes) }, spec.dtype)
}

/**
 * @param data numbers, nested or flat
 * @param dims of it; without them, those of the nesting
 * @throws RequestError 400 when it is ragged, holds anything but numbers, or does not fit the model
 */
export function tensorFromNumbers(data: unknown, dims: number[] | undefined, spec: TensorSpec): Tensor {
  const nesting = nestingOf(data)
  const size = sizeOf(nesting)
  // a flat list for a model that takes one number is a batch
  const isFlatBatch = isScalar(spec) && nesting.length === 1
  const shape = dims ?? (isFlatBatch ? [size, ...spec.dims.slice(1).map(() => 1)] : nesting)
  if (sizeOf(shape) !== size) {
    throw new RequestError(
      400,
      `dims [${shape}] are ${sizeOf(shape)} numbers, but the data has ${size}: they must agree`,
    )
  }
  const fitted = fitDims(shape, spec)
  const flat = allocate('float64', size) as Float64Array
  const end = flatten(data, nesting, 0, flat, 0)
  if (end !== size) throw new RequestError(400, 'the data is ragged')
  return convert({ dtype: 'float64', dims: fitted, data: flat }, spec.dtype)
}

/** The dims of nested lists, read off the first of each. */
function nestingOf(data: unknown): number[] {
  const dims: number[] = []
  for (let list = data; Array.isArray(list); list = list[0]) {
    if (dims.length === MAX_RANK)
      throw new RequestError(400, `the data is nested deeper than ${MAX_RANK} lists`)
    if (list.length === 0) throw new RequestError(400, 'the data holds an empty list: send numbers')
    dims.push(list.length)
  }
  return dims
}

/** Write the numbers of `data` to `out` from `offset` on; returns where the next go. */
function flatten(data: unknown, nesting: number[], depth: number, out: Float64Array, offset: number): number {
  if (depth === nesting.length) {
    if (typeof data !== 'number' && typeof data !== 'boolean') {
      const came = Array.isArray(data) ? 'a list' : JSON.stringify(data)?.slice(0, 40)
      throw new RequestError(
        400,
        `the data has ${came} where a number was expected: it is ragged, or not of numbers`,
      )
    }
    out[offset] = Number(data)
    return offset + 1
  }
  if (!Array.isArray(data) || data.length !== nesting[depth]) {
    const came = Array.isArray(data) ? `a list of ${data.length}` : JSON.stringify(data)?.slice(0, 40)
    throw new RequestError(400, `the data is ragged: ${came} where a list of ${nesting[depth]} was expected`)
  }
  let next = offset
  for (const item of data) next = flatten(item, nesting, depth + 1, out, next)
  return next
}

/**
 * One number as the input of a model that takes one number a sample.
 *
 * @throws RequestError 400 when it is no number, or the model takes more than one
 */
export function tensorFromText(text: string, spec: TensorSpec): Tensor {
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value)) {
    throw new RequestError(400, `${JSON.stringify(text.slice(0, 40))} is not a number: send one, such as 5`)
  }
  if (!isScalar(spec)) {
    throw new RequestError(
      400,
      `the model takes [${shapeOf(spec)}] numbers a sample, not one: send an image or a tensor`,
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
