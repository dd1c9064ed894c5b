/** Tensors as the Open Inference Protocol writes them: lists in JSON, or little-endian bytes behind the JSON. */
import { randomUUID } from 'node:crypto'
import { RequestError } from '../lib/inference/errors.ts'
import {
  type AnyTensor,
  allocate,
  bytesPerElement,
  type Dtype,
  fromBytes,
  sizeOf,
  toBytes,
  toNumbers,
} from '../lib/inference/tensor.ts'
import { parseJson } from '../lib/input/json_input.ts'
import { flatten, inWords, nestingOf } from '../lib/input/nested_lists.ts'

/** most elements of BYTES: each is a string of its own, made on the event loop */
const MAX_TEXTS = 20_000

type AnyDtype = AnyTensor['dtype']

/** The protocol's names of the dtypes; BYTES are texts. */
export const DATATYPES: Record<AnyDtype, string> = {
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
  string: 'BYTES',
}

/**
 * A tensor from the `data` of a request.
 *
 * @param data values, flat in row-major order or nested as `dims` says
 * @throws RequestError 400 for a count, a nesting or values that do not fit
 */
export function fromList(dtype: AnyDtype, dims: number[], data: unknown[]): AnyTensor {
  if (dtype === 'float16')
    throw new RequestError(400, 'FP16 has no form in JSON: send it with binary_data_size')
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
  const kind = `a value of ${DATATYPES[dtype]}`
  if (dtype === 'string') {
    checkTexts(dims)
    const readText = (value: unknown) =>
      typeof value === 'string' && !value.startsWith(LONG) ? value : undefined
    return { dtype, dims, data: flatten(data, nesting, kind, readText, show) }
  }
  const values = flatten(data, nesting, kind, readerOf(dtype), show)
  const numbers = allocate(dtype, values.length)
  numbers.set(values as never)
  return { dtype, dims, data: numbers }
}

/** What reads one JSON value as the dtype has it; undefined for what the dtype cannot hold. */
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

/** Before whole numbers of 16 digits or more, which JSON.parse would round; no client can know it. */
const LONG = `${randomUUID()}:`

/** As `parseExactly` leaves those that a double may not hold. */
function isLongInteger(value: unknown): value is string {
  return typeof value === 'string' && value.startsWith(LONG)
}

function digitsOf(value: string): string {
  return value.slice(LONG.length)
}

/** A value as the client wrote it, without the mark. */
function show(value: unknown): string {
  return isLongInteger(value) ? digitsOf(value) : inWords(value)
}

/** The same JSON twice. */
export interface ExactJson {
  /** as JSON.parse gives it */
  json: unknown
  /** whole numbers of 16 digits or more, of which JSON.parse rounds the last, as marked strings: for `fromList` only */
  exact: unknown
}

/** @throws RequestError 400 */
export function parseExactly(text: string, what: string): ExactJson {
  const json = parseJson(text, what)
  if (!/\d{16}/.test(text)) return { json, exact: json }
  // texts are passed over, but for very long ones, of which the expression would run out of memory
  const marked = text.replace(/"(?:[^"\\]|\\.){0,1000}"|(?<=[[,\s])-?\d{16,20}(?=[\s,\]])/gs, (found) =>
    found.startsWith('"') ? found : `"${LONG}${found}"`,
  )
  if (marked === text) return { json, exact: json }
  try {
    return { json, exact: JSON.parse(marked) }
  } catch {
    return { json, exact: json } // a very long text with such a number in it
  }
}

/**
 * A tensor from the bytes behind a request's JSON.
 *
 * @throws RequestError 400 for a number of bytes that does not fit, or BYTES that are not UTF-8
 */
export function fromBinary(dtype: AnyDtype, dims: number[], bytes: Uint8Array): AnyTensor {
  if (dtype === 'string') {
    checkTexts(dims)
    return { dtype, dims, data: readTexts(bytes, sizeOf(dims)) }
  }
  const expected = sizeOf(dims) * bytesPerElement(dtype)
  if (bytes.length === expected) return { dtype, dims, data: fromBytes(dtype, bytes) }
  throw new RequestError(
    400,
    `the shape [${dims}] of ${DATATYPES[dtype]} is ${expected} bytes, but binary_data_size is ${bytes.length}`,
  )
}

/** @throws RequestError 413 */
function checkTexts(dims: number[]): void {
  if (sizeOf(dims) <= MAX_TEXTS) return
  throw new RequestError(
    413,
    `${sizeOf(dims)} elements of BYTES are more than ${MAX_TEXTS}: send fewer at once`,
  )
}

/** BYTES: each element is its length, 4 bytes little-endian, and the text. */
function readTexts(bytes: Uint8Array, count: number): string[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const texts: string[] = []
  let offset = 0
  while (offset < bytes.length && texts.length <= count) {
    const begin = offset + 4
    const end = begin <= bytes.length ? begin + view.getUint32(offset, true) : Number.POSITIVE_INFINITY
    if (end > bytes.length) {
      throw new RequestError(
        400,
        `element ${texts.length} of BYTES ends behind the ${bytes.length} bytes there are`,
      )
    }
    texts.push(decodeText(bytes.subarray(begin, end)))
    offset = end
  }
  if (texts.length === count) return texts
  throw new RequestError(
    400,
    `the shape has ${count} elements, but the BYTES are ${texts.length}: they must agree`,
  )
}

const UTF_8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** @throws RequestError 400 when it is not UTF-8, which the runtime's texts are */
function decodeText(bytes: Uint8Array): string {
  try {
    return UTF_8.decode(bytes)
  } catch {
    throw new RequestError(400, 'an element of BYTES is not UTF-8, as the texts of the model are')
  }
}

/** The `data` of an answer, as JSON text; NaN and infinities, which JSON lacks, are null. */
export function toJson(tensor: AnyTensor): string {
  const { dtype, data } = tensor
  if (dtype === 'string') return JSON.stringify(data)
  if (dtype === 'bool') return JSON.stringify(Array.from(data as Uint8Array, Boolean))
  if (dtype === 'int64' || dtype === 'uint64') return `[${data.join()}]` // JSON.stringify takes no bigint
  return JSON.stringify(Array.from(toNumbers(tensor)))
}

export function toBinary({ data }: AnyTensor): Buffer {
  if (!Array.isArray(data)) return toBytes(data)
  const parts = data.flatMap((text) => {
    const bytes = Buffer.from(text)
    const length = Buffer.alloc(4)
    length.writeUInt32LE(bytes.length)
    return [length, bytes]
  })
  return Buffer.concat(parts)
}
