/** JSON bodies: tensors as lists of numbers, images as base64. */
import { messageOf, RequestError } from './errors.ts'
import type { Input } from './input.ts'
import { checkMetadata, type TensorLimits, tensorFromNumbers } from './tensor_input.ts'

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

/**
 * @param json a parsed body
 * @throws RequestError 400 when it is none of the forms, or does not fit the model
 */
export function readJson(json: unknown, limits: TensorLimits): Input {
  if (typeof json === 'string') return { images: [decodeBase64(json)] }
  if (typeof json === 'number') return { tensor: tensorFromNumbers([json], undefined, limits) }
  if (Array.isArray(json)) return { tensor: tensorFromNumbers(json, undefined, limits) }
  if (json !== null && typeof json === 'object') {
    const { data, dims, instances } = json as Record<string, unknown>
    if (data !== undefined) {
      const shape = dims === undefined ? undefined : checkMetadata({ dims }).dims
      return { tensor: tensorFromNumbers(data, shape, limits) }
    }
    if (instances !== undefined) return readInstances(instances, limits)
  }
  throw new RequestError(400, `the JSON is none of the forms that are known: send ${FORMS}`)
}

/** TF Serving's row format: each instance is one sample, a tensor or `{"b64": image}`. */
function readInstances(instances: unknown, limits: TensorLimits): Input {
  if (!Array.isArray(instances) || instances.length === 0) {
    throw new RequestError(400, 'instances: expected a list of at least one tensor or {"b64":"..."}')
  }
  if (!instances.some(isEncoded)) {
    return { tensor: tensorFromNumbers(instances, undefined, limits) }
  }
  const images = instances.map((instance) => {
    if (isEncoded(instance)) return decodeBase64(instance.b64)
    throw new RequestError(
      400,
      'instances: some are {"b64":"..."} and some are not: send them in two requests',
    )
  })
  return { images }
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
  return Buffer.from(data, 'base64')
}
