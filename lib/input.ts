/**
 * What a request brings: image files or a tensor, in any of the forms of the contract. Every route that takes
 * inputs reads them here.
 */
import type { Request, Response } from 'express'
import * as v from 'valibot'
import { readBody } from './body.ts'
import { RequestError } from './errors.ts'
import { imageFormat } from './image.ts'
import { createFormReader, type Form } from './multipart.ts'
import {
  bytesPerElement,
  convert,
  DTYPES,
  fromBytes,
  sizeOf,
  type Tensor,
  type TensorSpec,
} from './tensor.ts'

export type Input = { images: Uint8Array[] } | { tensor: Tensor }

/** Reads one request; throws RequestError 400, 413 or 415 for what the contract does not allow. */
export type InputReader = (req: Request, res: Response) => Promise<Input>

const MetadataSchema = v.object({
  dims: v.pipe(v.array(v.pipe(v.number(), v.safeInteger(), v.minValue(1))), v.maxLength(8)),
  dtype: v.optional(v.picklist(DTYPES)),
})
type Metadata = v.InferOutput<typeof MetadataSchema>

const FORMS = 'a multipart form, an image file as the body, or tensor bytes with ?dims='

/**
 * @param spec the model's input
 * @param maxBytes of a body
 */
export function createInputReader(spec: TensorSpec, maxBytes: number): InputReader {
  const readForm = createFormReader(maxBytes)

  return async (req, res) => {
    if (req.is('multipart/form-data')) return fromForm(await readForm(req, res), req, spec)
    const body = await readBody(req, maxBytes)
    if (body.length === 0) throw new RequestError(400, `the body is empty: send ${FORMS}`)
    if (req.query.dims !== undefined) return { tensor: toTensor(body, queryMetadata(req), spec) }
    if (imageFormat(body)) return { images: [body] }
    const type = req.get('content-type') ?? 'none'
    throw new RequestError(415, `the body is no image file and its Content-Type is ${type}: send ${FORMS}`)
  }
}

function fromForm({ files, fields }: Form, req: Request, spec: TensorSpec): Input {
  const metadataFile = files.find(({ name }) => name === 'metadata')
  const metadataText = metadataFile?.bytes.toString() ?? fields.metadata
  if (metadataText === undefined && req.query.dims === undefined) {
    if (files.length === 0) {
      throw new RequestError(
        400,
        'the form has no file: send an image part, or data and metadata of a tensor',
      )
    }
    const empty = files.find(({ bytes }) => bytes.length === 0)
    if (empty)
      throw new RequestError(400, `the form's file ${JSON.stringify(empty.name)} is empty: send an image`)
    return { images: files.map(({ bytes }) => bytes) }
  }
  const data = files.find(({ name }) => name === 'data')
  if (!data) {
    throw new RequestError(400, 'the form has metadata but no file part "data" with the bytes of the tensor')
  }
  const metadata = metadataText === undefined ? queryMetadata(req) : parseMetadata(metadataText)
  return { tensor: toTensor(data.bytes, metadata, spec) }
}

function parseMetadata(text: string): Metadata {
  let json: unknown
  try {
    json = JSON.parse(text)
  } catch (error) {
    throw new RequestError(400, `metadata is not JSON (${(error as Error).message}): send {"dims":[1,28,28]}`)
  }
  return checkMetadata(json)
}

/** `?dims=1,28,28&dtype=uint8` */
function queryMetadata({ query }: Request): Metadata {
  const dims = String(query.dims)
    .split(',')
    .map((dim) => (dim.trim() === '' ? Number.NaN : Number(dim)))
  return checkMetadata({ dims, dtype: query.dtype })
}

function checkMetadata(json: unknown): Metadata {
  const result = v.safeParse(MetadataSchema, json)
  if (result.success) return result.output
  const [{ path, message }] = result.issues
  const key = path?.map((item) => String(item.key)).join('.') || 'metadata'
  throw new RequestError(
    400,
    `${key}: ${message}; dims are up to 8 whole numbers of at least 1, such as [1,28,28], dtype is one of ${DTYPES.join(', ')}`,
  )
}

function toTensor(bytes: Uint8Array, { dims, dtype }: Metadata, spec: TensorSpec): Tensor {
  const batched = fitDims(dims, spec)
  const given = dtype ?? spec.dtype
  const expected = sizeOf(dims) * bytesPerElement(given)
  if (bytes.length !== expected) {
    const asked = `dims [${dims}] of ${given} are ${expected} bytes`
    throw new RequestError(
      400,
      `${asked}, but the data has ${bytes.length}: send as many as the dims say, or other dims`,
    )
  }
  return convert({ dtype: given, dims: batched, data: fromBytes(given, bytes) }, spec.dtype)
}

/**
 * The dims with the batch axis, which may be left out.
 *
 * @throws RequestError 400 when they do not fit the model's input
 */
function fitDims(dims: number[], spec: TensorSpec): number[] {
  const wanted = spec.dims.slice(1)
  const batched = dims.length === wanted.length ? [1, ...dims] : dims
  const fits =
    batched.length === spec.dims.length &&
    wanted.every((dim, axis) => typeof dim === 'string' || dim === batched[axis + 1])
  if (fits) return batched
  const shape = wanted.map((dim) => (typeof dim === 'string' ? dim || '?' : dim))
  const message = `dims [${dims}] do not fit the model's input: send [${shape}], or [n,${shape}] for a batch of n`
  throw new RequestError(400, message)
}
