/** A request's input, image files or a tensor, in any form of the HTTP contract. Every predicting route reads it here. */
import { FORMATS, imageFormat, otherFormat } from '../../preprocess/index.ts'
import type { AdmittedContext } from '../http/admission.ts'
import type { RequestContext } from '../http/context.ts'
import { RequestError } from '../inference/errors.ts'
import { bytesPerElement, convert, type Tensor, type TensorSpec } from '../inference/tensor.ts'
import type { ThreadPool } from '../workers/thread_pool.ts'
import { CSV_READER, isNpy, tensorFromNpy } from './array_file.ts'
import { readBody } from './body.ts'
import { checkTextSize, type Input, LONG_TEXT, type TextReader } from './input.ts'
import { JSON_READER, parseJson } from './json_body.ts'
import { createFormReader, type Form, type Part } from './multipart.ts'
import { checkQueryKeys, queryMetadata, queryTopK } from './query.ts'
import { CONVERT, checkMetadata, type Metadata, tensorFromBytes, tensorFromText } from './tensor_body.ts'

/**
 * Reads a request's input and reserves room in the queue for its samples.
 *
 * @throws RequestError 400, 413 or 415 for what the contract does not allow, 503 when the queue is full
 */
export type InputReader = (ctx: AdmittedContext) => Promise<Input>

/** Longest number and longest metadata, in characters. */
const MAX_TEXT = 2 ** 16

const FORMS =
  'a multipart form, an image file as the body, tensor bytes with ?dims=, a .npy file, CSV, or JSON'

/**
 * @param spec the model's input
 * @param threads for long JSON bodies
 */
export function createInputReader(spec: TensorSpec, maxBodyBytes: number, threads: ThreadPool): InputReader {
  const readForm = createFormReader(maxBodyBytes)

  /** Long text is parsed in a thread, because it can take a second. */
  async function parse(reader: TextReader, body: Buffer<ArrayBuffer>, ctx: AdmittedContext): Promise<Input> {
    if (body.length < LONG_TEXT) return reader.read({ body, spec })
    checkTextSize(body.length)
    const input = await threads.run<Input>(reader.inThread, { body, spec }, ctx.signal, [body.buffer])
    if (input.tensor) ctx.reservation.countTensors(input.tensor.data.byteLength)
    return input
  }

  async function readBare(ctx: AdmittedContext): Promise<Input> {
    const { req } = ctx
    const body = await readBody(req, maxBodyBytes, ctx.reservation)
    if (body.length === 0) throw new RequestError(400, `the body is empty: send ${FORMS}`)
    if (req.query.dims !== undefined) return { tensor: tensorFromBytes(body, queryMetadata(ctx.req), spec) }
    if (imageFormat(body)) return { images: [body] }
    if (isNpy(body)) return { tensor: tensorFromNpy(body, spec) }
    if (req.is(['json', '+json']) || looksLikeJson(ctx, body)) return parse(JSON_READER, body, ctx)
    if (req.is('text/csv')) return parse(CSV_READER, body, ctx)
    const text = () => body.toString('utf8', 0, MAX_TEXT)
    if (req.is('text/plain')) return { tensor: tensorFromText(text(), spec) }
    const value = req.is('urlencoded') ? new URLSearchParams(text()).get('value') : null
    if (value !== null) return { tensor: tensorFromText(value, spec) }
    throw unsupportedBody(body, ctx)
  }

  /** In the dtype of the model's input; large ones are converted in a thread. */
  async function converted(tensor: Tensor, { reservation, signal }: AdmittedContext): Promise<Tensor> {
    const { dtype } = spec
    reservation.countTensors(tensor.data.length * bytesPerElement(dtype))
    if (tensor.data.byteLength < LONG_TEXT) return convert(tensor, dtype)
    return threads.run<Tensor>(CONVERT, { tensor, dtype }, signal, [tensor.data.buffer as ArrayBuffer])
  }

  return async (ctx) => {
    checkQueryKeys(ctx.req)
    const topK = queryTopK(ctx.req)
    const isForm = ctx.req.is('multipart/form-data')
    const input = isForm ? fromForm(await readForm(ctx), ctx, spec) : await readBare(ctx)
    ctx.reservation.reserve(input.images ? input.images.length : input.tensor.dims[0])
    if (input.tensor) {
      if (input.tensor.dtype !== spec.dtype) input.tensor = await converted(input.tensor, ctx)
      ctx.reservation.own(input.tensor.data.buffer as ArrayBuffer)
    }
    return topK === undefined ? input : { ...input, options: { ...input.options, topK } }
  }
}

/** Whether the body is JSON under another Content-Type: `curl -d` sends a form's, as in TF Serving's examples, others none. */
function looksLikeJson({ req }: RequestContext, body: Buffer): boolean {
  const isUnsaid = !req.get('content-type') || req.is('urlencoded')
  return Boolean(isUnsaid) && /^\s*[[{]/.test(body.toString('latin1', 0, 100))
}

function unsupportedBody(body: Uint8Array, { req }: RequestContext): RequestError {
  const other = otherFormat(body)
  if (other) return new RequestError(415, `the body is ${other}, which is not supported: send ${FORMATS}`)
  const type = req.get('content-type') ?? 'none'
  const hint = type.endsWith('urlencoded')
    ? ' (curl sends a file unchanged with --data-binary, not with -d)'
    : ''
  const detail = `the body does not start like ${FORMATS}, and its Content-Type is ${type}: send ${FORMS}${hint}`
  return new RequestError(415, detail)
}

function fromForm(form: Form, ctx: RequestContext, spec: TensorSpec): Input {
  const { files } = form
  const metadata = formMetadata(form, ctx)
  if (metadata) {
    const data = files.find(({ name }) => name === 'data')
    if (data) return { tensor: tensorFromBytes(data.bytes, metadata, spec) }
    throw new RequestError(400, 'the form has metadata, but no file part "data" with the bytes of the tensor')
  }
  if (files.length > 0) return { images: files.map(imageBytes) }
  const value = form.text('value')
  if (value !== undefined) return { tensor: tensorFromText(value, spec) }
  throw new RequestError(
    400,
    'the form has no file: send an image part (curl: -F image=@FILE, with the @), or data and metadata of a tensor',
  )
}

/** The part, the text field, or the query's dims; undefined for a form of images. */
function formMetadata(form: Form, ctx: RequestContext): Metadata | undefined {
  const part = form.files.find(({ name }) => name === 'metadata')
  if (part && part.bytes.length > MAX_TEXT) {
    throw new RequestError(400, `metadata is longer than ${MAX_TEXT} bytes, expected {"dims":[...]}`)
  }
  const text = part?.bytes.toString() ?? form.text('metadata')
  if (text !== undefined) return checkMetadata(parseJson(text, 'metadata'))
  return ctx.req.query.dims === undefined ? undefined : queryMetadata(ctx.req)
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
