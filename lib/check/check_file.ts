/** check.json: the tensors and scores that Python made of some images, as `onnxpress.save` writes them. */
import { readFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import * as v from 'valibot'
import { ConfigError, readJsonFile } from '../../preprocess/index.ts'
import { DTYPES, fromBytes, type Tensor } from '../inference/tensor.ts'

/** A tensor that Python made. */
export interface ExpectedTensor extends Pick<Tensor, 'dims' | 'dtype'> {
  /** of its little-endian bytes, in hex */
  sha256: string
  /** every `stride`-th of its values */
  values: Float32Array
  stride: number
}

/** An image, or the input of a model without images, and Python's tensor and scores for it. */
export interface CheckCase {
  name: string
  image?: Uint8Array
  input?: Tensor
  tensor?: ExpectedTensor
  /** after softmax or sigmoid, in class order */
  scores: number[]
}

const BASE64 = v.pipe(
  v.string(),
  v.base64(),
  v.transform((text) => Buffer.from(text, 'base64')),
)
const SHAPE = { dims: v.array(v.pipe(v.number(), v.integer(), v.minValue(1))), dtype: v.picklist(DTYPES) }
const IMAGE = v.union([v.object({ file: v.string() }), v.object({ png: BASE64 })])
const TENSOR = v.object({
  ...SHAPE,
  sha256: v.pipe(v.string(), v.hexadecimal(), v.length(64)),
  stride: v.pipe(v.number(), v.integer(), v.minValue(1)),
  values: BASE64,
})
const SCORES = v.array(v.number())
const CASE = v.union([
  v.object({ name: v.string(), image: IMAGE, tensor: TENSOR, scores: SCORES }),
  v.object({ name: v.string(), input: v.object({ ...SHAPE, data: BASE64 }), scores: SCORES }),
])
const FILE = v.object({ format: v.literal(1), cases: v.pipe(v.array(CASE), v.minLength(1)) })

/** @throws ConfigError */
export function readCheckFile(path: string): CheckCase[] {
  const { output, issues, success } = v.safeParse(FILE, readJsonFile(path)?.json)
  if (success) return output.cases.map((json) => toCase(json, path))
  const [issue] = issues
  const where = v.getDotPath(issue) ?? 'the file'
  throw new ConfigError(
    `${path}: ${where} is ${issue.received}, expected ${issue.expected}: save the model again`,
  )
}

function toCase(json: v.InferOutput<typeof CASE>, path: string): CheckCase {
  const { name, scores } = json
  if ('input' in json) {
    const { dims, dtype, data } = json.input
    return { name, scores, input: { dims, dtype, data: fromBytes(dtype, data) } }
  }
  const { values, ...tensor } = json.tensor
  return {
    name,
    scores,
    image: 'png' in json.image ? json.image.png : readImage(join(dirname(path), basename(json.image.file))),
    tensor: { ...tensor, values: fromBytes('float32', values) as Float32Array },
  }
}

function readImage(path: string): Uint8Array {
  try {
    return readFileSync(path)
  } catch {
    throw new ConfigError(
      `${path}, an image of check.json, cannot be read: put it there, or save the model again`,
    )
  }
}
