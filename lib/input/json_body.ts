/** JSON bodies: tensors as lists of numbers, images as base64. */
import * as v from 'valibot'
import { messageOf, RequestError } from '../inference/errors.ts'
import { type TensorSpec, toBytes } from '../inference/tensor.ts'
import { SCORE_FUNCTIONS } from '../model/output_spec.ts'
import { threadFunction } from '../workers/thread_pool.ts'
import { checkImageCount, type Input, memoryOf, type TextReader } from './input.ts'
import { checkSchema, DimsSchema, ListSchema, record } from './schema.ts'
import { tensorFromNumbers } from './tensor_body.ts'

/** A tensor of nested or flat numbers. */
const DataSchema = record({
  data: v.union([v.number(), v.boolean(), ListSchema]),
  dims: v.optional(DimsSchema),
})

const Signature = { signature_name: v.nullish(v.literal('serving_default')) }

/** TF Serving's row format: each instance is one sample, a tensor or `{"b64": image}`. */
const InstancesSchema = record({ instances: v.pipe(ListSchema, v.minLength(1)), ...Signature })

/** TF Serving's column format: the samples of each input, together. */
const InputsSchema = record({ inputs: v.unknown(), ...Signature })

/** Keys under which clients send an image, as base64; several as a list. */
const IMAGE_KEYS = [
  'image',
  'images',
  'inputs',
  'b64',
  'image_bytes',
  'img',
  'file',
  'body',
  'content',
  'data',
]

/** As an inference endpoint of Hugging Face takes them; other keys belong to other protocols. */
const ParametersSchema = record({
  parameters: v.nullish(
    record({
      top_k: v.nullish(v.pipe(v.number(), v.safeInteger(), v.minValue(1))),
      function_to_apply: v.nullish(v.picklist(SCORE_FUNCTIONS)),
    }),
  ),
})

const FORMS =
  '{"data":[...],"dims":[...]}, {"instances":[...]}, {"inputs":...}, {"image":"base64"}, a list of numbers, or an image as a base64 string'

/** @throws RequestError 400 */
export function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new RequestError(400, `${what} is not JSON: ${messageOf(error)}`)
  }
}

/** A million takes up to 0.5 s and 100 MB; 20 MB of brackets, 10 million lists, took 5 s. A tensor needs far fewer. */
const MAX_CONTAINERS = 500_000

const QUOTE = 0x22
const BACKSLASH = 0x5c
const BRACKET = 0x5b
const BRACE = 0x7b

/**
 * Call this before JSON.parse, whose time and memory grow with the lists and objects: a list of 2 bytes becomes 50.
 *
 * @throws RequestError 413 for more lists and objects than a tensor needs
 */
export function checkJsonSize(json: Uint8Array): void {
  const containers = countContainers(json)
  if (containers <= MAX_CONTAINERS) return
  throw new RequestError(
    413,
    `the JSON has ${containers} lists and objects; the limit is ${MAX_CONTAINERS}: send a tensor as a flat list with dims, or as bytes`,
  )
}

/** Lists and objects, except for brackets in strings. */
function countContainers(json: Uint8Array): number {
  let containers = 0
  let inString = false
  for (let i = 0; i < json.length; i++) {
    const byte = json[i]
    if (byte === QUOTE) inString = !inString
    else if (inString) i += byte === BACKSLASH ? 1 : 0
    else if (byte === BRACKET || byte === BRACE) containers++
  }
  return containers
}

/**
 * @throws RequestError 400 when it is not JSON, none of the forms, or does not fit the model, 413 for too many images
 * or lists
 */
function readJsonBody({ body, spec }: { body: Uint8Array; spec: TensorSpec }): Input {
  checkJsonSize(body)
  return readJson(parseJson(toBytes(body).toString(), 'the body'), spec)
}

export const readJsonInThread = threadFunction(readJsonBody, memoryOf)
export const JSON_READER: TextReader = {
  read: readJsonBody,
  inThread: { file: import.meta.filename, name: 'readJsonInThread' },
}

/**
 * @param json a parsed body
 * @throws RequestError 400 when it is none of the forms, or does not fit the model
 */
function readJson(json: unknown, spec: TensorSpec): Input {
  if (typeof json === 'string') return { images: [decodeImage(json, 'the body')] }
  if (typeof json === 'number') return { tensor: tensorFromNumbers([json], undefined, spec) }
  if (Array.isArray(json)) return { tensor: tensorFromNumbers(json, undefined, spec) }
  if (json === null || typeof json !== 'object') throw unknownForm()
  const input = readObject(json as Record<string, unknown>, spec)
  const { parameters } = checkSchema(ParametersSchema, json, 'the JSON')
  const { top_k: topK, function_to_apply: scoreFunction } = parameters ?? {}
  return { ...input, options: { ...(topK && { topK }), ...(scoreFunction && { scoreFunction }) } }
}

function readObject(json: Record<string, unknown>, spec: TensorSpec): Input {
  if ('instances' in json) {
    const { instances } = checkSchema(InstancesSchema, json, 'the JSON')
    const samples = instances.map((instance) => unwrap(instance, spec))
    return readInstances(samples, spec)
  }
  // as a string it is an image for Hugging Face's clients, see IMAGE_KEYS
  if ('inputs' in json && typeof [json.inputs].flat()[0] !== 'string') {
    const samples = unwrap(checkSchema(InputsSchema, json, 'the JSON').inputs, spec)
    const isList = Array.isArray(samples) && samples.length > 0
    return { ...readInstances(isList ? samples : [samples], spec), isColumnFormat: true }
  }
  const key = IMAGE_KEYS.find((name) => isEncoded(json[name]))
  if (key) {
    const encoded = [json[key]].flat()
    checkImageCount(encoded.length)
    return { images: encoded.map((image) => decodeImage(image, key)) }
  }
  if (!('data' in json)) throw unknownForm()
  const { data, dims } = checkSchema(DataSchema, json, 'the JSON')
  return { tensor: tensorFromNumbers(data, dims, spec) }
}

function unknownForm(): RequestError {
  return new RequestError(400, `the JSON has none of the known forms: send ${FORMS}`)
}

function readInstances(instances: unknown[], spec: TensorSpec): Input {
  const encoded = instances.filter(isEncoded)
  if (encoded.length === 0) return { tensor: tensorFromNumbers(instances, undefined, spec) }
  if (encoded.length < instances.length) {
    throw new RequestError(
      400,
      'instances: some are {"b64":"..."} and some are not: send them in two requests',
    )
  }
  checkImageCount(encoded.length)
  return { images: encoded.map((image) => decodeImage(image, 'instances')) }
}

/** The value of a named input, `{"image_bytes": {"b64": ...}}` or `{"x": [...]}`; an image may have any name. */
function unwrap(value: unknown, { name }: TensorSpec): unknown {
  if (value === null || typeof value !== 'object' || Array.isArray(value) || 'b64' in value) return value
  const names = Object.keys(value)
  const [inner] = Object.values(value)
  if (names.length === 1 && (names[0] === name || isEncoded(inner))) return inner
  throw new RequestError(400, `inputs ${JSON.stringify(names).slice(0, 100)}: expected one, ${name}`)
}

/** A base64 string, `{"b64": ...}` as TF Serving writes it, or a list that starts with one. */
function isEncoded(value: unknown): boolean {
  const [first] = [value].flat()
  return typeof first === 'string' || (first !== null && typeof first === 'object' && 'b64' in first)
}

/**
 * @param encoded base64, a data URL, or `{"b64": ...}`
 * @param key where it was found, for errors
 * @throws RequestError 400
 */
function decodeImage(encoded: unknown, key: string): Uint8Array {
  const text = typeof encoded === 'string' ? encoded : (encoded as { b64?: unknown } | null)?.b64
  if (typeof text === 'string' && /^[a-z][\w+.-]*:\/\//i.test(text)) {
    throw new RequestError(
      400,
      `${key} is a URL, but this server fetches nothing: send the image itself, as base64 or as the body`,
    )
  }
  const data =
    typeof text === 'string' ? text.replace(/^data:[^,]{0,100};base64,/, '').replace(/\s+/g, '') : ''
  if (data === '' || !/^[A-Za-z0-9+/_-]*={0,2}$/.test(data)) {
    throw new RequestError(400, `${key} is not the base64 of an image file`)
  }
  return Uint8Array.from(Buffer.from(data, 'base64')) // Node's small buffers share their memory
}
