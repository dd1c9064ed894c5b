/**
 * TF Serving's REST API, which is KServe's V1 protocol and Vertex AI's too: rows in, `{"instances":[...]}`, and
 * `{"predictions":[...]}` out, which are what /predict responds with; or columns in, `{"inputs":...}`, and the graph's
 * `{"outputs":...}` out.
 */
import type { AdmittedContext } from '../lib/http/admission.ts'
import type { ErrorShape } from '../lib/http/error_response.ts'
import type { Handler } from '../lib/http/routes.ts'
import { RequestError } from '../lib/inference/errors.ts'
import { type Dtype, sizeOf, type Tensor, type TensorSpec, toNumbers } from '../lib/inference/tensor.ts'
import { nest } from '../lib/input/nested_lists.ts'
import { ofModel, type Service } from './service.ts'

/** Most values in a response: they are written on the event loop. */
const MAX_VALUES = 200_000

/** TensorFlow's names of the dtypes. */
const TYPES: Record<Dtype, string> = {
  bool: 'DT_BOOL',
  uint8: 'DT_UINT8',
  uint16: 'DT_UINT16',
  uint32: 'DT_UINT32',
  uint64: 'DT_UINT64',
  int8: 'DT_INT8',
  int16: 'DT_INT16',
  int32: 'DT_INT32',
  int64: 'DT_INT64',
  float16: 'DT_HALF',
  float32: 'DT_FLOAT',
  float64: 'DT_DOUBLE',
}

export function predictInstances(service: Service): Handler {
  const { admit, readTensors, predict } = service
  return admit(async (ctx) => {
    const { tensors, input } = await readTensors(ctx)
    if (input.isColumnFormat) return sendColumns(service, tensors, ctx)
    const predictions = await predict(tensors, ctx, input.options)
    ctx.recordResults(predictions)
    ctx.res.json({ predictions })
  })
}

/** Send each output by name; a single output without. */
async function sendColumns({ model }: Service, tensors: Tensor[], ctx: AdmittedContext): Promise<void> {
  const names = model.outputs.map(({ name }) => name)
  const results = await Promise.all(tensors.map((tensor) => model.infer(tensor, names, ctx)))
  const values = results.flat().reduce((sum, { dims }) => sum + sizeOf(dims), 0)
  if (values > MAX_VALUES) {
    const detail = `the response has ${values} values; the limit is ${MAX_VALUES}: send fewer samples`
    throw new RequestError(413, detail)
  }
  // 64-bit integers above 2^53 lose precision
  const rowsOf = (tensor: Tensor) => nest(Array.from(toNumbers(tensor)), tensor.dims)
  const columns = names.map((name, i) => [name, results.flatMap((outputs) => rowsOf(outputs[i]))])
  ctx.setServerTiming()
  ctx.res.json({ outputs: names.length === 1 ? columns[0][1] : Object.fromEntries(columns) })
}

/** The graph's interface as TF Serving describes it, and as OpenVINO Model Server spells the same. */
function metadataOf({ model }: Service) {
  const spec = { name: model.name, signature_name: '', version: model.version }
  const infoOf = ({ name, dtype, dims }: TensorSpec) => {
    const sizes = dims.map((dim, axis) => (axis > 0 && typeof dim === 'number' ? dim : -1))
    const shape = { dim: sizes.map((size) => ({ size: String(size), name: '' })), unknown_rank: false }
    return [name, { name, dtype: TYPES[dtype], tensor_shape: shape, tensorShape: shape }]
  }
  const signatures = {
    serving_default: {
      inputs: Object.fromEntries([infoOf(model.input)]),
      outputs: Object.fromEntries(model.outputs.map(infoOf)),
      method_name: 'tensorflow/serving/predict',
    },
  }
  const metadata = { signature_def: { signature_def: signatures, signatureDef: signatures } }
  return { model_spec: spec, modelSpec: spec, metadata }
}

export function addTfServing(service: Service): void {
  const { model, isReady, routes } = service
  const route = routes.of({
    name: 'TF Serving',
    description: "TF Serving's REST API, which is also KServe's V1 protocol.",
    error: 'ErrorMessage',
  })
  const checked = (handler: Handler) => ofModel(service, handler, '0') // OpenVINO's client sends version 0 for any
  const status: Handler = ({ res }) => {
    const ready = isReady()
    const state = ready ? 'AVAILABLE' : 'UNLOADING'
    const version = { version: model.version, state, status: { error_code: 'OK', error_message: '' } }
    res.json({ name: model.name, ready, model_version_status: [version] })
  }
  const refuse: Handler = ({ req }) => {
    const verb = req.path.split(':').at(-1)
    throw new RequestError(
      400,
      `:${verb} takes tf.Example features, which this server does not read: send images or tensors to :predict`,
    )
  }
  const metadata = metadataOf(service)
  /** `:model` also matches a name with a verb, which only POST has. */
  const withoutVerb =
    (handler: Handler): Handler =>
    (ctx) => {
      const { req, res } = ctx
      const hasVerb = /:(predict|classify|regress)$/.test(req.path)
      return hasVerb ? routes.checkMethod(req, res, () => {}) : handler(ctx)
    }

  route('get /v1/models', ({ res }) => res.json({ models: [model.name] }), {
    summary: 'The models',
    response: 'object',
  })
  for (const path of ['/v1/models/:model', '/v1/models/:model/versions/:version']) {
    route(`post ${path}\\:predict`, checked(predictInstances(service)), {
      summary: 'Classify images or tensors',
      body: 'instances',
      response: 'predictions',
    })
    for (const verb of ['classify', 'regress']) route(`post ${path}\\:${verb}`, checked(refuse))
    const summary = 'Whether the model is ready'
    route(`get ${path}`, withoutVerb(checked(status)), { summary, response: 'readiness' })
    route(
      `get ${path}/metadata`,
      checked(({ res }) => res.json(metadata)),
      {
        summary: 'The inputs and outputs of the graph',
        response: 'object',
      },
    )
  }
}

export const tfServingError: ErrorShape = ({ message }) => ({ error: message })
