/** The Open Inference Protocol V2 of KServe, Triton and MLServer, with binary tensors and classification. */
import { type Request, type Response, Router } from 'express'
import { allowOnly, type ErrorShape } from '../lib/http/problem.ts'
import type { Service } from '../lib/http/service.ts'
import { RequestError } from '../lib/inference/errors.ts'
import { bestClasses, checkScores } from '../lib/inference/output_spec.ts'
import { type AnySpec, type AnyTensor, sizeOf, type TextTensor, toNumbers } from '../lib/inference/tensor.ts'
import { maxUploadBytes } from '../lib/process/settings.ts'
import { version } from '../lib/process/version.ts'
import { HEADER, type Inference, readInference } from './open_inference_request.ts'
import { DATATYPES, toBinary, toJson } from './open_inference_tensors.ts'

/** most values that are written as text in an answer: that is done on the event loop, and must not take long */
const MAX_VALUES = 200_000

export function openInference(service: Service): Router {
  const { model, settings, threads } = service
  const { inputs, outputs } = model
  const limits = {
    inputs,
    outputs,
    maxBytes: maxUploadBytes(settings),
    maxSamples: settings.MAX_QUEUE,
  }
  const router = Router()

  router
    .route('/v2')
    .get((_req, res) => {
      const extensions = ['binary_tensor_data', 'classification']
      res.json({ name: 'onnxpress', version, extensions })
    })
    .all(allowOnly('GET'))
  router
    .route('/v2/health/live')
    .get((_req, res) => res.json({ live: true }))
    .all(allowOnly('GET'))
  router
    .route('/v2/health/ready')
    .get((_req, res) => sendReadiness(res))
    .all(allowOnly('GET'))
  router
    .route(modelPaths('/ready'))
    .get((req, res) => {
      checkName(req)
      sendReadiness(res, { name: model.name })
    })
    .all(allowOnly('GET'))
  router
    .route(modelPaths())
    .get((req, res) => {
      checkName(req)
      res.json({
        name: model.name,
        versions: [model.version],
        platform: 'onnx_onnxv1',
        inputs: inputs.map(tensorMetadata),
        outputs: outputs.map(tensorMetadata),
      })
    })
    .all(allowOnly('GET'))
  router
    .route(modelPaths('/infer'))
    .post(async (req, res) => {
      checkName(req)
      const [inference, results] = await service.attend(req, res, async () => {
        const asked = await readInference(req, res, limits, threads)
        const names = asked.outputs.map(({ spec }) => spec.name)
        return [asked, await service.infer(res, asked.inputs, names)] as const
      })
      sendResults(res, inference, results)
    })
    .all(allowOnly('POST'))
  function checkName({ params }: Request<Record<string, string | string[]>>): void {
    if (params.model !== model.name) {
      throw new RequestError(404, `model ${params.model} is not found: the one served is ${model.name}`)
    }
    if (params.version === undefined || params.version === model.version) return
    throw new RequestError(
      404,
      `version ${params.version} of ${model.name} is not found: it is ${model.version}`,
    )
  }

  function sendReadiness(res: Response, names = {}): void {
    const ready = service.isReady()
    res.status(ready ? 200 : 503).json({ ...names, ready })
  }

  /** The JSON, written by hand because JSON.stringify takes no 64-bit integers, and behind it what is binary. */
  function sendResults(res: Response, { id, outputs: wanted }: Inference, results: AnyTensor[]): void {
    const binary: Buffer[] = []
    let values = 0
    const written = wanted.map(({ spec, isBinary, classes }, index) => {
      const labels = spec.name === outputs[0].name ? model.answer.labels : []
      const [samples, ...rest] = results[index].dims
      const length = classes ? Math.min(classes, sizeOf(rest)) : sizeOf(rest)
      if (classes) checkScores(samples, sizeOf(rest))
      if (classes || !isBinary) values += samples * length
      if (values > MAX_VALUES) {
        throw new RequestError(
          413,
          `the answer has more than ${MAX_VALUES} values: ask for binary_data, or for fewer samples`,
        )
      }
      const tensor = classes ? classify(results[index], classes, labels) : results[index]
      const { dtype, dims } = tensor
      const head = `"name":${JSON.stringify(spec.name)},"datatype":"${DATATYPES[dtype]}","shape":[${dims}]`
      if (isBinary) {
        const bytes = toBinary(tensor)
        binary.push(bytes)
        return `{${head},"parameters":{"binary_data_size":${bytes.length}}}`
      }
      return `{${head},"data":${toJson(tensor)}}`
    })
    const names = { model_name: model.name, model_version: model.version, id: id ?? undefined }
    const json = `${JSON.stringify(names).slice(0, -1)},"outputs":[${written}]}`
    if (binary.length === 0) return void res.type('json').send(json)
    const header = Buffer.from(json)
    res.set(HEADER, String(header.length)).type('application/octet-stream')
    res.send(Buffer.concat([header, ...binary]))
  }

  return router
}

/** A model's route, with the version or without. */
function modelPaths(end = ''): string[] {
  return [`/v2/models/:model${end}`, `/v2/models/:model/versions/:version${end}`]
}

/** The batch axis is free whatever the graph says: requests are split and filled up to fit it. */
function tensorMetadata({ name, dtype, dims }: AnySpec) {
  const shape = dims.map((dim, axis) => (axis > 0 && typeof dim === 'number' ? dim : -1))
  return { name, datatype: DATATYPES[dtype], shape }
}

/**
 * The classification extension: `value:index` or, where the class has a name, `value:index:label`.
 *
 * @param tensor numbers, [n, classes]
 * @returns [n, k], best first; k is at most the number of classes
 */
function classify(tensor: AnyTensor, k: number, labels: readonly string[]): TextTensor {
  const numbers = tensor.dtype === 'string' ? [] : toNumbers(tensor)
  const [samples, ...rest] = tensor.dims
  const classes = sizeOf(rest)
  const data = Array.from({ length: samples }, (_, row) => {
    const scores = Array.from(numbers.slice(row * classes, (row + 1) * classes))
    return bestClasses(scores, k).map((index) => {
      const label = labels[index] ?? String(index)
      return `${scores[index]}:${index}${label === String(index) ? '' : `:${label}`}`
    })
  }).flat()
  return { dtype: 'string', dims: [samples, Math.min(k, classes)], data }
}

export const openInferenceError: ErrorShape = ({ message }) => ({ error: message })
