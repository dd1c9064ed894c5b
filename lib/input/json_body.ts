/** JSON bodies: tensors as lists of numbers, images as base64. */
import * as v from 'valibot'
import { messageOf, RequestError } from '../inference/errors.ts'
import { type TensorSpec, toBytes } from '../inference/tensor.ts'
import { threadFunction } from '../workers/thread_pool.ts'
import { checkImageCount, type Input } from './input.ts'
import { checkSchema, DimsSchema, ListSchema, record } from './schema.ts'
import { tensorFromNumbers } from './tensor_body.ts'

/** A tensor of nested or flat numbers. */
export const DataSchema = record({
  data: v.union([v.number(), v.boolean(), ListSchema]),
  dims: v.optional(DimsSchema),
})

/** TF Serving's row format: each instance is one sample, a tensor or `{"b64": image}`. */
export const InstancesSchema = record({ instances: v.pipe(ListSchema, v.minLength(1)) })

const FORMS =
  '{"data":[...],"dims":[...]}, {"instances":[...]}, a list of numbers, or an image as a base64 string'

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
 * Call it before JSON.parse, whose time and memory depend on the lists and objects: a list of 2 bytes becomes 50.
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

/** Longer JSON, in bytes, is parsed in a thread: it can take a second. */
export const LONG_JSON = 2 ** 16

interface JsonTask {
  body: Uint8Array
  spec: TensorSpec
}

/**
 * @throws RequestError 400 when it is no JSON, none of the forms, or does not fit the model, 413 for too many images
 * or lists
 */
export function readJsonBody({ body, spec }: JsonTask): Input {
  checkJsonSize(body)
  return readJson(parseJson(toBytes(body).toString(), 'the body'), spec)
}

export const readJsonInThread = threadFunction(readJsonBody, (input) => input.images ?? [input.tensor.data])
export const READ_JSON = { file: import.meta.filename, name: 'readJsonInThread' }

/**
 * @param json a parsed body
 * @throws RequestError 400 when it is none of the forms, or does not fit the model
 */
function readJson(json: unknown, spec: TensorSpec): Input {
  if (typeof json === 'string') return { images: [decodeBase64(json)] }
  if (typeof json === 'number') return { tensor: tensorFromNumbers([json], undefined, spec) }
  if (Array.isArray(json)) return { tensor: tensorFromNumbers(json, undefined, spec) }
  if (json !== null && typeof json === 'object') {
    if ('data' in json) {
      const { data, dims } = checkSchema(DataSchema, json, 'the JSON')
      return { tensor: tensorFromNumbers(data, dims, spec) }
    }
    if ('instances' in json) {
      return readInstances(checkSchema(InstancesSchema, json, 'the JSON').instances, spec)
    }
  }
  throw new RequestError(400, `the JSON has none of the known forms: send ${FORMS}`)
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
  return { images: encoded.map(({ b64 }) => decodeBase64(b64)) }
}

function isEncoded(instance: unknown): instance is { b64: unknown } {
  return instance !== null && typeof instance === 'object' && 'b64' in instance
}

function decodeBase64(text: unknown): Uint8Array {
  const data =
    typeof text === 'string' ? text.replace(/^data:[^,]{0,100};base64,/, '').replace(/\s+/g, '') : ''
  if (data === '' || !/^[A-Za-z0-9+/_-]*={0,2}$/.test(data)) {
    throw new RequestError(400, 'an image as a JSON string must be the base64 of an image file')
  }
  return Uint8Array.from(Buffer.from(data, 'base64')) // Node's small buffers share their memory
}
