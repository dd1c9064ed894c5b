/** The Open Inference Protocol V2 of KServe, Triton and MLServer, with binary tensors and classification. */
import type { ErrorShape } from '../../lib/http/error_response.ts'
import type { AddRoute, Handler } from '../../lib/http/routes.ts'
import type { TensorSpec } from '../../lib/inference/tensor.ts'
import { version } from '../../lib/process/version.ts'
import { ofModel, type Service, sendReadiness } from '../service.ts'
import { createInferenceReader } from './request.ts'
import { sendOutputs } from './response.ts'
import { DATATYPES } from './tensors.ts'

export function addOpenInference(service: Service): void {
  const { model, admit } = service
  const route = service.routes.of({
    name: 'Open Inference Protocol',
    description: 'Version 2, of KServe, Triton and MLServer.',
    error: 'ErrorMessage',
  })
  const readInference = createInferenceReader(service)
  const checked = (handler: Handler) => ofModel(service, handler)

  addServerRoutes(service, route)
  const infer = admit(async (ctx) => {
    const { id, input, outputs } = await readInference(ctx)
    const names = outputs.map(({ spec }) => spec.name)
    const results = await model.infer(input, names, ctx)
    ctx.setServerTiming()
    sendOutputs(ctx.res, model, id, outputs, results)
  })
  const metadata = {
    name: model.name,
    versions: [model.version],
    platform: 'onnx_onnxv1',
    inputs: [tensorMetadata(model.input)],
    outputs: model.outputs.map(tensorMetadata),
  }
  for (const path of ['/v2/models/:model', '/v2/models/:model/versions/:version']) {
    route(
      `get ${path}`,
      checked(({ res }) => res.json(metadata)),
      INTERFACE,
    )
    route(
      `get ${path}/ready`,
      checked((ctx) => sendReadiness(ctx, service, model.name)),
      READINESS,
    )
    route(`post ${path}/infer`, checked(infer), {
      summary:
        'Run the graph: tensors in, tensors out. Binary tensors may follow the JSON, whose length is then in the header Inference-Header-Content-Length',
      body: 'inference',
      response: 'inference',
    })
  }
}

const INTERFACE = { summary: 'The inputs and outputs of the graph', response: 'object' } as const
const READINESS = { summary: 'Whether the model answers', response: 'readiness', otherStatus: 503 } as const

function addServerRoutes(service: Service, route: AddRoute): void {
  route(
    'get /v2',
    ({ res }) =>
      res.json({ name: 'onnxpress', version, extensions: ['binary_tensor_data', 'classification'] }),
    { summary: 'The server', response: 'object' },
  )
  route('get /v2/health/live', ({ res }) => res.json({ live: true }), {
    summary: 'Whether the process is alive',
    response: 'object',
    isOpen: true,
  })
  route('get /v2/health/ready', (ctx) => sendReadiness(ctx, service), {
    ...READINESS,
    summary: 'Whether the server is ready for requests',
    isOpen: true,
  })
}

/** The batch axis is free whatever the graph declares: requests are split and padded to fit it. */
function tensorMetadata({ name, dtype, dims }: TensorSpec) {
  const shape = dims.map((dim, axis) => (axis > 0 && typeof dim === 'number' ? dim : -1))
  return { name, datatype: DATATYPES[dtype], shape }
}

export const openInferenceError: ErrorShape = ({ message }) => ({ error: message })
