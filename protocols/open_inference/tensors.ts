/** Tensors as the Open Inference Protocol writes them: lists in JSON, or little-endian bytes after the JSON. */
import { RequestError } from '../../lib/inference/errors.ts'
import {
  allocate,
  bytesPerElement,
  type Dtype,
  fromBytes,
  sizeOf,
  type Tensor,
  toNumbers,
} from '../../lib/inference/tensor.ts'
import { flatten, nestingOf } from '../../lib/input/nested_lists.ts'
import { digitsOf, isLongInteger, showValue } from './exact_json.ts'

/** The protocol's names of the dtypes. */
export const DATATYPES: Record<Dtype, string> = {
  bool: 'BOOL',
  uint8: 'UINT8',
  uint16: 'UINT16',
  uint32: 'UINT32',
  uint64: 'UINT64',
  int8: 'INT8',
  int16: 'INT16',
  int32: 'INT32',
  int64: 'INT64',
  float16: 'FP16',
  float32: 'FP32',
  float64: 'FP64',
}

/**
 * A tensor from the `data` of a request.
 *
 * @param data values, flat in row-major order or nested as `dims` says
 * @throws RequestError 400 for a count, a nesting or values that do not fit
 */
export function fromList(dtype: Dtype, dims: number[], data: unknown[]): Tensor {
  if (dtype === 'float16')
    throw new RequestError(400, 'FP16 cannot be sent in JSON: send it with binary_data_size')
  const nesting = nestingOf(data)
  if (nesting.length !== 1 && nesting.join() !== dims.join()) {
    throw new RequestError(400, `the data is nested as [${nesting}]: expected a flat list, or [${dims}]`)
  }
  if (sizeOf(nesting) !== sizeOf(dims)) {
    throw new RequestError(
      400,
      `the shape [${dims}] has ${sizeOf(dims)} elements, but the data has ${sizeOf(nesting)}: they must agree`,
    )
  }
  const values = flatten(data, nesting, `a value of ${DATATYPES[dtype]}`, readerOf(dtype), showValue)
  const numbers = allocate(dtype, values.length)
  numbers.set(values as never)
  return { dtype, dims, data: numbers }
}

/** Reads one JSON value; undefined for what the dtype cannot represent. */
function readerOf(dtype: Dtype): (value: unknown) => number | bigint | undefined {
  if (dtype === 'bool') {
    return (value) => (value === true || value === 1 ? 1 : value === false || value === 0 ? 0 : undefined)
  }
  if (dtype === 'float32' || dtype === 'float64') {
    return (value) =>
      typeof value === 'number' ? value : isLongInteger(value) ? Number(digitsOf(value)) : undefined
  }
  const cell = allocate(dtype, 1)
  const isBig = dtype === 'int64' || dtype === 'uint64'
  return (value) => {
    if (!Number.isSafeInteger(value) && !(isBig && isLongInteger(value))) return undefined
    const exact = isLongInteger(value) ? digitsOf(value) : (value as number)
    const number = isBig ? BigInt(exact) : (exact as number)
    cell[0] = number
    return cell[0] === number ? number : undefined // else it wrapped
  }
}

/**
 * A tensor from the bytes after a request's JSON.
 *
 * @throws RequestError 400 when their number does not fit the shape
 */
export function fromBinary(dtype: Dtype, dims: number[], bytes: Uint8Array): Tensor {
  const expected = sizeOf(dims) * bytesPerElement(dtype)
  if (bytes.length === expected) return { dtype, dims, data: fromBytes(dtype, bytes) }
  throw new RequestError(
    400,
    `the shape [${dims}] of ${DATATYPES[dtype]} is ${expected} bytes, but binary_data_size is ${bytes.length}`,
  )
}

/** The `data` of an output as JSON text; NaN and infinities, which JSON lacks, are null. */
export function toJson(tensor: Tensor): string {
  const { dtype, data } = tensor
  if (dtype === 'bool') return JSON.stringify(Array.from(data as Uint8Array, Boolean))
  if (dtype === 'int64' || dtype === 'uint64') return `[${data.join()}]` // JSON.stringify does not take bigint
  return JSON.stringify(Array.from(toNumbers(tensor)))
}

/** BYTES in binary: for each text its length, 4 bytes little-endian, and its UTF-8. */
export function toTextBytes(texts: readonly string[]): Buffer {
  const parts = texts.flatMap((text) => {
    const bytes = Buffer.from(text)
    const length = Buffer.alloc(4)
    length.writeUInt32LE(bytes.length)
    return [length, bytes]
  })
  return Buffer.concat(parts)
}
