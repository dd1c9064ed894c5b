/** Arrays in files: NumPy's .npy and CSV, as SageMaker's clients send them. */
import { RequestError } from '../inference/errors.ts'
import { type Dtype, type Tensor, type TensorSpec, toBytes } from '../inference/tensor.ts'
import { threadFunction } from '../workers/thread_pool.ts'
import { type Input, memoryOf, type TextReader } from './input.ts'
import { checkMetadata, tensorFromBytes, tensorFromNumbers } from './tensor_body.ts'

/** A line becomes a list: ten million of them take a gigabyte. */
const MAX_LINES = 500_000
const LINE_FEED = 0x0a

const MAGIC = '\x93NUMPY'

/** NumPy's type codes, without their byte order. */
const DTYPES: Record<string, Dtype> = {
  f2: 'float16',
  f4: 'float32',
  f8: 'float64',
  i1: 'int8',
  i2: 'int16',
  i4: 'int32',
  i8: 'int64',
  u1: 'uint8',
  u2: 'uint16',
  u4: 'uint32',
  u8: 'uint64',
  b1: 'bool',
}

export function isNpy(body: Buffer): boolean {
  return body.toString('latin1', 0, MAGIC.length) === MAGIC
}

/**
 * Read NumPy's file format: a magic string, a version, the length of a header, the header as a Python dict, the values.
 * Source: numpy.lib.format.
 *
 * @throws RequestError 400 for a file that is cut off, an order or dtype of its values that is not supported, or a shape
 * that does not fit the model
 */
export function tensorFromNpy(body: Buffer, spec: TensorSpec): Tensor {
  const isFirstVersion = body[6] === 1
  const start = isFirstVersion ? 10 : 12
  if (body.length < start) throw invalid('it is cut off')
  const end = start + (isFirstVersion ? body.readUInt16LE(8) : body.readUInt32LE(8))
  const header = body.toString('latin1', start, Math.min(end, start + 2 ** 16))
  const [, descr] = /'descr': *'([^']*)'/.exec(header) ?? []
  const [, shape] = /'shape': *\(([\d, ]*)\)/.exec(header) ?? []
  if (descr === undefined || shape === undefined || end > body.length) throw invalid('its header is damaged')
  if (/'fortran_order': *True/.test(header)) {
    throw invalid("its values are in Fortran's order: save numpy.ascontiguousarray(array)")
  }
  const code = descr.slice(1)
  const dtype = Object.hasOwn(DTYPES, code) ? DTYPES[code] : undefined
  if (!dtype || descr.startsWith('>')) {
    throw invalid(`its dtype is ${descr}, expected little-endian numbers: save array.astype("${spec.dtype}")`)
  }
  const dims = shape
    .split(',')
    .filter((dim) => dim.trim() !== '')
    .map(Number)
  return tensorFromBytes(
    body.subarray(end),
    checkMetadata({ dims: dims.length > 0 ? dims : [1], dtype }),
    spec,
  )
}

function invalid(reason: string): RequestError {
  return new RequestError(400, `the body is a .npy file that cannot be used: ${reason}`)
}

/**
 * Read CSV: each line is one sample, its numbers in row-major order.
 *
 * @throws RequestError 400 when it has anything but numbers, lines of different lengths, or does not fit the model
 */
function readCsv({ body, spec }: { body: Uint8Array; spec: TensorSpec }): Input {
  const ends = body.reduce((count, byte) => (byte === LINE_FEED ? count + 1 : count), 0)
  if (ends > MAX_LINES)
    throw new RequestError(413, `the CSV has ${ends} lines; the limit is ${MAX_LINES}: send several requests`)
  const lines = toBytes(body).toString().trim().split(/\r?\n/)
  const rows = lines.map((line, row) =>
    line.split(',').map((cell) => {
      const value = Number(cell)
      if (cell.trim() !== '' && !Number.isNaN(value)) return value
      const shown = JSON.stringify(cell.slice(0, 40))
      throw new RequestError(400, `line ${row + 1} of the CSV has ${shown}, expected numbers and commas`)
    }),
  )
  const sampleDims = spec.dims.slice(1)
  const isFixed = sampleDims.every((dim) => typeof dim === 'number')
  return { tensor: tensorFromNumbers(rows, isFixed ? [rows.length, ...sampleDims] : undefined, spec) }
}

export const readCsvInThread = threadFunction(readCsv, memoryOf)
export const CSV_READER: TextReader = {
  read: readCsv,
  inThread: { file: import.meta.filename, name: 'readCsvInThread' },
}
