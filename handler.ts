/** Before and after the model: images become the tensor it was trained on, its output becomes predictions. */
import type { AdmittedContext } from './lib/http/admission.ts'
import { RequestError } from './lib/inference/errors.ts'
import { bytesPerElement, sizeOf, type Tensor, toNumbers } from './lib/inference/tensor.ts'
import type { ModelInfo } from './lib/model/model_info.ts'
import type { OutputSpec } from './lib/model/output_spec.ts'
import { type Prediction, type Result, scoresOf, topKClasses } from './lib/model/predictions.ts'
import type { ImageInput, ImageWorkers } from './lib/workers/image_workers.ts'
import { fixedSize } from './preprocess/index.ts'

/**
 * Turn image files into the tensors that the model was trained on, bit for bit those of Pillow and NumPy.
 *
 * @param images the files' bytes, whose memory is transferred
 * @returns one tensor per image, [1, channels, height, width] or channels last, of the model's dtype
 * @throws RequestError 413 too large, 415 unsupported format or a model that takes no images, 422 broken, 503 when
 * the tensors of all requests need too much memory
 */
export async function preprocess(
  images: Uint8Array[],
  model: ModelInfo,
  workers: ImageWorkers,
  ctx: AdmittedContext,
): Promise<Tensor[]> {
  const startedAt = performance.now()
  const input = imageInput(model)
  const { reservation, signal } = ctx
  const bytes = tensorBytes(model)
  // before the work, if the size is known
  if (bytes) reservation.countTensors(images.length * bytes)
  const tensors = await Promise.all(
    images.map(async (file) => {
      const tensor = await workers.preprocess(file, input, signal)
      reservation.own(tensor.data.buffer as ArrayBuffer)
      if (!bytes) reservation.countTensors(tensor.data.byteLength)
      return tensor
    }),
  )
  ctx.timings.preprocessMs = performance.now() - startedAt
  return tensors
}

/** The bytes of an image's tensor; undefined if they depend on the image, or the model takes none. */
export function tensorBytes({ recipe, input }: ModelInfo): number | undefined {
  const size = recipe && fixedSize(recipe)
  return size && recipe.channels * size.height * size.width * bytesPerElement(input.dtype)
}

/**
 * The 8-bit pixels that the model sees, just before rescaling.
 *
 * @param images one file
 * @returns a PNG file
 * @throws RequestError as `preprocess`, and 400 for several images
 */
export async function preview(
  images: Uint8Array[],
  model: ModelInfo,
  workers: ImageWorkers,
  { signal, timings }: AdmittedContext,
): Promise<Uint8Array> {
  if (images.length > 1)
    throw new RequestError(400, `${images.length} images, but a PNG shows one: send one image`)
  const startedAt = performance.now()
  const file = await workers.preview(images[0], imageInput(model), signal)
  timings.preprocessMs = performance.now() - startedAt
  return file
}

/** @throws RequestError 415 for a model that takes no images */
function imageInput({ name, recipe, input }: ModelInfo): ImageInput {
  if (recipe) return { recipe, dtype: input.dtype }
  throw new RequestError(415, `${name} takes no images: send a tensor (GET /model shows its dims)`)
}

/**
 * Turn the model's output into results, one per sample.
 *
 * @param output [n, classes]
 * @param input [n, ...]; a regression from one number repeats it in its result
 * @param topK number of predictions of a single-label result, clipped to the number of classes
 */
export function postprocess(output: Tensor, input: Tensor, spec: OutputSpec, topK: number): Result[] {
  const numbers = toNumbers(output)
  const inputs = sizeOf(input.dims) === input.dims[0] ? toNumbers(input) : undefined
  const classes = sizeOf(output.dims.slice(1))
  return Array.from({ length: output.dims[0] }, (_, row) => {
    const values = new Float64Array(numbers.subarray(row * classes, (row + 1) * classes))
    const scores = scoresOf(values, spec)
    return spec.kind === 'regression' ? regression(scores, inputs?.[row]) : classification(scores, spec, topK)
  })
}

function classification(scores: Float64Array, { kind, labels, threshold }: OutputSpec, topK: number): Result {
  const isMultiLabel = kind === 'multi-label'
  const count = isMultiLabel ? scores.filter((score) => score > threshold).length : topK
  const predictions = topKClasses(scores, count).map(
    (index): Prediction => ({ label: labels[index], score: finiteOrNull(scores[index]) }),
  )
  if (isMultiLabel) return { predictions }
  const [{ label, score }] = predictions // a spread would make V8 create a hidden class each time
  return { label, score, predictions }
}

function regression(values: Float64Array, input: number | undefined): Result {
  const numbers = Array.from(values, finiteOrNull)
  const prediction = numbers.length === 1 ? numbers[0] : numbers
  return input === undefined ? { prediction } : { input: shortest(input), prediction }
}

/** JSON has neither NaN nor infinities. */
function finiteOrNull(value: number): number | null {
  return Number.isFinite(value) ? value : null
}

/** The shortest decimal that is the same float32: 0.1 instead of 0.10000000149011612. */
function shortest(value: number): number {
  const { fround } = Math
  if (fround(value) !== value) return value
  const candidates = [1, 2, 3, 4, 5, 6, 7, 8, 9].map((digits) => Number(value.toPrecision(digits)))
  return candidates.find((short) => fround(short) === value) ?? value
}
