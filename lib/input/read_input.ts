/**
 * What a request brings: image files or a tensor, in any of the forms of the contract. Every route that takes
 * inputs reads them here.
 */
import type { Request, Response } from 'express'
import { FORMATS, imageFormat } from '../../preprocess/index.ts'
import { traceOf } from '../http/context.ts'
import { RequestError } from '../inference/errors.ts'
import type { Tensor } from '../inference/tensor.ts'
import type { ThreadPool } from '../workers/thread_pool.ts'
import { readBody } from './body.ts'
import { LONG_JSON, parseJson, READ_JSON, readJsonBody } from './json_input.ts'
import { createFormReader, type Form } from './multipart.ts'
import { checkQueryKeys } from './query.ts'
import {
  checkMetadata,
  type Metadata,
  type TensorLimits,
  tensorFromBytes,
  tensorFromText,
} from './tensor_input.ts'

export type Input = { images: Uint8Array[] } | { tensor: Tensor }

/** Reads one request; throws RequestError 400, 413 or 415 for what the contract does not allow. */
export type InputReader = (req: Request, res: Response) => Promise<Input>

/** No number and no metadata is longer: what follows is not looked at. */
const MAX_TEXT = 2 ** 16

const FORMS = 'a multipart form, an image file as the body, tensor bytes with ?dims=, or JSON'

/**
 * @param maxBytes of a body
 */
export function createInputReader(limits: TensorLimits, maxBytes: number, threads: ThreadPool): InputReader {
  const readForm = createFormReader(maxBytes)

  return async (req, res) => {
    checkQueryKeys(req)
    const readJson = (body: Buffer<ArrayBuffer>): Promise<Input> | Input =>
      body.length < LONG_JSON
        ? readJsonBody({ body, limits })
        : threads.run<Input>(READ_JSON, { body, limits }, traceOf(res).interest, [body.buffer])
    return req.is('multipart/form-data')
      ? fromForm(await readForm(req, res), req, limits)
      : await fromBody(await readBody(req, maxBytes, traceOf(res).place), req, limits, readJson)
  }
}

async function fromBody(
  body: Buffer<ArrayBuffer>,
  req: Request,
  limits: TensorLimits,
  readJson: (body: Buffer<ArrayBuffer>) => Promise<Input> | Input,
): Promise<Input> {
  if (body.length === 0) throw new RequestError(400, `the body is empty: send ${FORMS}`)
  if (req.query.dims !== undefined) return { tensor: tensorFromBytes(body, queryMetadata(req), limits) }
  if (imageFormat(body)) return { images: [body] }
  if (req.is(['json', '+json'])) return readJson(body)
  if (req.is('text/plain')) return { tensor: tensorFromText(body.toString('utf8', 0, MAX_TEXT), limits) }
  if (req.is('urlencoded')) {
    const value = new URLSearchParams(body.toString('utf8', 0, MAX_TEXT)).get('value')
    if (value !== null) return { tensor: tensorFromText(value, limits) }
  }
  const type = req.get('content-type') ?? 'none'
  const hint = type.endsWith('urlencoded')
    ? ' (curl sends a file as it is with --data-binary, not with -d)'
    : ''
  throw new RequestError(
    415,
    `the body does not start as ${FORMATS}, and its Content-Type is ${type}: send ${FORMS}${hint}`,
  )
}

function fromForm({ files, fields }: Form, req: Request, limits: TensorLimits): Input {
  const metadataFile = files.find(({ name }) => name === 'metadata')
  if ((metadataFile?.bytes.length ?? 0) > MAX_TEXT) {
    throw new RequestError(400, `metadata is longer than ${MAX_TEXT} bytes, expected {"dims":[...]}`)
  }
  const metadataText = metadataFile?.bytes.toString() ?? fields.metadata
  if (metadataText === undefined && req.query.dims === undefined) {
    if (files.length > 0) return { images: files.map(imageBytes) }
    if (fields.value !== undefined) return { tensor: tensorFromText(fields.value, limits) }
    throw new RequestError(
      400,
      'the form has no file: send an image part (curl: -F image=@FILE, with the @), or data and metadata of a tensor',
    )
  }
  const data = files.find(({ name }) => name === 'data')
  if (!data) {
    throw new RequestError(400, 'the form has metadata but no file part "data" with the bytes of the tensor')
  }
  const metadata =
    metadataText === undefined ? queryMetadata(req) : checkMetadata(parseJson(metadataText, 'metadata'))
  return { tensor: tensorFromBytes(data.bytes, metadata, limits) }
}

function imageBytes({ name, bytes }: Form['files'][number]): Uint8Array {
  if (name === 'data' && !imageFormat(bytes)) {
    throw new RequestError(
      415,
      'the form\'s file "data" does not start as an image file: a tensor needs a part "metadata" with its dims',
    )
  }
  if (bytes.length === 0)
    throw new RequestError(400, `the form's file ${JSON.stringify(name)} is empty: send an image`)
  return bytes
}

/** `?dims=1,28,28&dtype=uint8` */
function queryMetadata({ query }: Request): Metadata {
  const dims = String(query.dims)
    .split(',')
    .map((dim) => (dim.trim() === '' ? Number.NaN : Number(dim)))
  return checkMetadata({ dims, dtype: query.dtype })
}
