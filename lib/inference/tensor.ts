/** Tensors: row-major numbers with dims, in the dtypes that ONNX Runtime and NumPy share. */
const ARRAYS = {
  float32: Float32Array,
  float64: Float64Array,
  float16: Uint16Array, // its bits: Node has Float16Array only from version 24 on
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  int64: BigInt64Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  uint64: BigUint64Array,
  bool: Uint8Array,
} as const

export type Dtype = keyof typeof ARRAYS
export type TensorData =
  | Float32Array
  | Float64Array
  | Int8Array
  | Int16Array
  | Int32Array
  | BigInt64Array
  | Uint8Array
  | Uint16Array
  | Uint32Array
  | BigUint64Array

export interface Tensor {
  dtype: Dtype
  dims: readonly number[]
  /** of length `dims[0] * dims[1] * ...` */
  data: TensorData
}

/** An input or output as the graph declares it; a symbolic dim is its name, "" if it has none. */
export interface TensorSpec {
  name: string
  dtype: Dtype
  dims: readonly (number | string)[]
}

export const DTYPES = Object.keys(ARRAYS) as readonly Dtype[]

export function isDtype(name: string): name is Dtype {
  return Object.hasOwn(ARRAYS, name)
}

/** The number of elements of a shape; 1 for a scalar. */
export function sizeOf(dims: readonly number[]): number {
  return dims.reduce((product, dim) => product * dim, 1)
}

/** Samples of all tensors together. */
export function countSamples(tensors: readonly Tensor[]): number {
  return tensors.reduce((sum, { dims }) => sum + dims[0], 0)
}

export function bytesPerElement(dtype: Dtype): number {
  return ARRAYS[dtype].BYTES_PER_ELEMENT
}

/** An array of `length` zeros. */
export function allocate(dtype: Dtype, length: number): TensorData {
  return new ARRAYS[dtype](length)
}

export function zeros(dtype: Dtype, dims: readonly number[]): Tensor {
  return { dtype, dims, data: allocate(dtype, sizeOf(dims)) }
}

/** Samples `from` to `to` (exclusive) along axis 0, as a view of the same memory. */
export function slice(tensor: Tensor, from: number, to: number): Tensor {
  const { dims, data } = tensor
  if (from === 0 && to === dims[0]) return tensor
  const length = sizeOf(dims.slice(1))
  return { ...tensor, dims: [to - from, ...dims.slice(1)], data: data.subarray(from * length, to * length) }
}

/** Whether tensors have equal dims after the first. */
export function canConcatenate([first, ...others]: readonly Tensor[]): boolean {
  return others.every(({ dims }) => dims.slice(1).join() === first.dims.slice(1).join())
}

/**
 * Copy tensors into one, along axis 0.
 *
 * @param parts at least one; of one dtype, see `canConcatenate`
 * @param samples of the result; those beyond the parts stay zero
 */
export function concatenate(parts: readonly Tensor[], samples: number): Tensor {
  const [{ dtype, dims }] = parts
  const whole = zeros(dtype, [samples, ...dims.slice(1)])
  let offset = 0
  for (const { data } of parts) {
    whole.data.set(data as never, offset)
    offset += data.length
  }
  return whole
}

/** View little-endian bytes as numbers; they are copied only if they are not aligned for the dtype. */
export function fromBytes(dtype: Dtype, bytes: Uint8Array): TensorData {
  const size = bytesPerElement(dtype)
  // the runtime does not define what other byte values mean
  if (dtype === 'bool') return toBools(bytes)
  const aligned = bytes.byteOffset % size === 0 ? bytes : Uint8Array.from(bytes)
  return new ARRAYS[dtype](aligned.buffer as ArrayBuffer, aligned.byteOffset, aligned.byteLength / size)
}

/** View an array's memory as a Buffer. */
export function toBytes({ buffer, byteOffset, byteLength }: ArrayBufferView): Buffer {
  return Buffer.from(buffer as ArrayBuffer, byteOffset, byteLength)
}

/**
 * Convert to another dtype as NumPy's `astype` does: integers wrap, fractions are truncated, anything but 0 is true.
 * NaN and infinities become 0 in an integer.
 */
export function convert(tensor: Tensor, dtype: Dtype): Tensor {
  if (tensor.dtype === dtype) return tensor
  const from = tensor.dtype === 'float16' ? float16ToNumbers(tensor.data as Uint16Array) : tensor.data
  if (dtype === 'float16') return { ...tensor, dtype, data: numbersToFloat16(from) }
  const data = allocate(dtype, from.length)
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) {
    for (let i = 0; i < data.length; i++) data[i] = toBigInt(from[i])
  } else if (dtype === 'bool') {
    for (let i = 0; i < data.length; i++) data[i] = from[i] ? 1 : 0
  } else {
    for (let i = 0; i < data.length; i++) data[i] = Number(from[i])
  }
  return { ...tensor, dtype, data }
}

function toBigInt(value: number | bigint): bigint {
  if (typeof value === 'bigint') return value
  return Number.isFinite(value) ? BigInt(Math.trunc(value)) : 0n
}

/** The values as JavaScript numbers; 64-bit integers above 2^53 lose precision. */
export function toNumbers({ dtype, data }: Tensor): Exclude<TensorData, BigInt64Array | BigUint64Array> {
  if (dtype === 'float16') return float16ToNumbers(data as Uint16Array)
  if (data instanceof BigInt64Array || data instanceof BigUint64Array) return Float64Array.from(data, Number)
  return data
}

function toBools(bytes: Uint8Array): Uint8Array {
  const bools = new Uint8Array(bytes.length) // a loop: `Uint8Array.from` with a function takes ten times as long
  for (let i = 0; i < bools.length; i++) bools[i] = bytes[i] ? 1 : 0
  return bools
}

/** @param bits of IEEE 754 half-precision numbers */
function float16ToNumbers(bits: Uint16Array): Float32Array {
  const numbers = new Float32Array(bits.length)
  for (let i = 0; i < numbers.length; i++) {
    const size = sizeOfHalf((bits[i] >> 10) & 31, bits[i] & 1023)
    numbers[i] = bits[i] & 0x8000 ? -size : size
  }
  return numbers
}

/** A half-precision number without its sign, from the bits of its exponent and its fraction. */
function sizeOfHalf(exponent: number, fraction: number): number {
  if (exponent === 0) return fraction * 2 ** -24
  if (exponent < 31) return (1024 + fraction) * POWERS[exponent]
  return fraction === 0 ? Number.POSITIVE_INFINITY : Number.NaN
}

/** By the exponent's bits: the value of the last bit of a half-precision fraction. */
const POWERS = Float64Array.from({ length: 31 }, (_, exponent) => 2 ** (exponent - 25))

/** Rounded half to even. */
function numbersToFloat16(values: TensorData): Uint16Array {
  const bits = new Uint16Array(values.length)
  const number = new Float64Array(1)
  const view = new DataView(number.buffer)
  for (let i = 0; i < bits.length; i++) {
    number[0] = Number(values[i])
    const high = view.getUint32(4, true)
    const size = Math.abs(number[0])
    const exponent = Math.max(((high >> 20) & 2047) - 1023, -14)
    const fraction = size / POWERS[exponent + 15] + 2 ** 52 - 2 ** 52 // adding 2^52 rounds
    const rounded = size >= 65520 ? 0x7c00 : ((exponent + 14) << 10) + fraction
    bits[i] = (Number.isNaN(size) ? 0x7e00 : rounded) | ((high >>> 16) & 0x8000)
  }
  return bits
}
