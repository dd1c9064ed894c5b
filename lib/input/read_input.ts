/** A request's input, image files or a tensor, in any form of the HTTP contract. Every predicting route reads it here. */
import { FORMATS, imageFormat } from '../../preprocess/index.ts'
import type { AdmittedContext } from '../http/admission.ts'
import type { RequestContext } from '../http/context.ts'
import { RequestError } from '../inference/errors.ts'
import type { TensorSpec } from '../inference/tensor.ts'
import type { ThreadPool } from '../workers/thread_pool.ts'
import { readBody } from './body.ts'
import type { Input } from './input.ts'
import { LONG_JSON, parseJson, READ_JSON, readJsonBody } from './json_body.ts'
import { createFormReader, type Form, type Part } from './multipart.ts'
import { checkQueryKeys } from './query.ts'
import { checkMetadata, type Metadata, tensorFromBytes, tensorFromText } from './tensor_body.ts'

/**
 * Reads a request's input and reserves room in the queue for its samples.
 *
 * @throws RequestError 400, 413 or 415 for what the contract does not allow, 503 when the queue is full
 */
export type InputReader = (ctx: AdmittedContext) => Promise<Input>

export interface InputReaderOptions {
  /** the model's input */
  spec: TensorSpec
  maxBodyBytes: number
  /** parse long JSON bodies */
  threads: ThreadPool
}

/** Longest number and longest metadata, in characters. */
const MAX_TEXT = 2 ** 16

const FORMS = 'a multipart form, an image file as the body, tensor bytes with ?dims=, or JSON'

export function createInputReader({ spec, maxBodyBytes, threads }: InputReaderOptions): InputReader {
  const readForm = createFormReader(maxBodyBytes)

  async function readJson(body: Buffer<ArrayBuffer>, { signal }: RequestContext): Promise<Input> {
    if (body.length < LONG_JSON) return readJsonBody({ body, spec })
    return threads.run<Input>(READ_JSON, { body, spec }, signal, [body.buffer])
  }

  async function readBare(ctx: AdmittedContext): Promise<Input> {
    const { req } = ctx
    const body = await readBody(req, maxBodyBytes, ctx.reservation)
    if (body.length === 0) throw new RequestError(400, `the body is empty: send ${FORMS}`)
    if (req.query.dims !== undefined) return { tensor: tensorFromBytes(body, queryMetadata(ctx), spec) }
    if (imageFormat(body)) return { images: [body] }
    if (req.is(['json', '+json'])) return readJson(body, ctx)
    const text = () => body.toString('utf8', 0, MAX_TEXT)
    if (req.is('text/plain')) return { tensor: tensorFromText(text(), spec) }
    const value = req.is('urlencoded') ? new URLSearchParams(text()).get('value') : null
    if (value !== null) return { tensor: tensorFromText(value, spec) }
    throw unsupportedBody(ctx)
  }

  return async (ctx) => {
    checkQueryKeys(ctx.req)
    const isForm = ctx.req.is('multipart/form-data')
    const input = isForm ? fromForm(await readForm(ctx), ctx, spec) : await readBare(ctx)
    ctx.reservation.reserve(input.images ? input.images.length : input.tensor.dims[0])
    if (input.tensor) ctx.reservation.own(input.tensor.data.buffer as ArrayBuffer)
    return input
  }
}

function unsupportedBody({ req }: RequestContext): RequestError {
  const type = req.get('content-type') ?? 'none'
  const hint = type.endsWith('urlencoded')
    ? ' (curl sends a file unchanged with --data-binary, not with -d)'
    : ''
  const detail = `the body does not start like ${FORMATS}, and its Content-Type is ${type}: send ${FORMS}${hint}`
  return new RequestError(415, detail)
}

function fromForm({ files, fields }: Form, ctx: RequestContext, spec: TensorSpec): Input {
  const metadata = formMetadata({ files, fields }, ctx)
  if (metadata) {
    const data = files.find(({ name }) => name === 'data')
    if (data) return { tensor: tensorFromBytes(data.bytes, metadata, spec) }
    throw new RequestError(400, 'the form has metadata, but no file part "data" with the bytes of the tensor')
  }
  if (files.length > 0) return { images: files.map(imageBytes) }
  if (fields.value !== undefined) return { tensor: tensorFromText(fields.value, spec) }
  throw new RequestError(
    400,
    'the form has no file: send an image part (curl: -F image=@FILE, with the @), or data and metadata of a tensor',
  )
}

/** The part, the text field, or the query's dims; undefined for a form of images. */
function formMetadata({ files, fields }: Form, ctx: RequestContext): Metadata | undefined {
  const part = files.find(({ name }) => name === 'metadata')
  if (part && part.bytes.length > MAX_TEXT) {
    throw new RequestError(400, `metadata is longer than ${MAX_TEXT} bytes, expected {"dims":[...]}`)
  }
  const text = part?.bytes.toString() ?? fields.metadata
  if (text !== undefined) return checkMetadata(parseJson(text, 'metadata'))
  return ctx.req.query.dims === undefined ? undefined : queryMetadata(ctx)
}

function imageBytes({ name, bytes }: Part): Uint8Array {
  if (name === 'data' && !imageFormat(bytes)) {
    throw new RequestError(
      415,
      'the form\'s file "data" does not start like an image file: a tensor needs a part "metadata" with its dims',
    )
  }
  if (bytes.length > 0) return bytes
  throw new RequestError(400, `the form's file ${JSON.stringify(name)} is empty: send an image`)
}

/** `?dims=1,28,28&dtype=uint8` */
function queryMetadata({ req }: RequestContext): Metadata {
  const dims = String(req.query.dims)
    .split(',')
    .map((dim) => (dim.trim() === '' ? Number.NaN : Number(dim)))
  return checkMetadata({ dims, dtype: req.query.dtype })
}

/**
 * `?top_k=`
 *
 * @param byDefault when it is absent
 * @throws RequestError 400
 */
export function topKOf({ req }: RequestContext, byDefault: number): number {
  const given = req.query.top_k
  if (given === undefined) return byDefault
  const topK = Number(given)
  if (typeof given === 'string' && Number.isSafeInteger(topK) && topK >= 1) return topK
  throw new RequestError(400, `top_k is ${JSON.stringify(given)}: expected one whole number, at least 1`)
}
