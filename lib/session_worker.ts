/** The thread that owns the ONNX Runtime session. ONNX Runtime's `run` blocks its thread: here it blocks nobody. */
import { parentPort, workerData } from 'node:worker_threads'
import { env, InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node'
import { messageOf } from './errors.ts'
import type { FromWorker, SessionOptions, ToWorker } from './session.ts'
import type { Dtype, Tensor, TensorData, TensorSpec } from './tensor.ts'

const { modelPath, devices, threads } = workerData as SessionOptions
const port = parentPort!

// the runtime's own lines on stderr: what matters comes as an error, and is said in our words
env.logLevel = 'fatal'

/** Load the model on the first of the devices that works; more than one is asked for only under DEVICE=auto. */
async function createSession(): Promise<{ session: InferenceSession; device: string }> {
  const [device, ...others] = devices
  try {
    const session = await InferenceSession.create(modelPath, {
      executionProviders: [device],
      intraOpNumThreads: threads,
      logSeverityLevel: 4,
      // a waiting thread that spins takes the core that the event loop needs
      extra: { session: { intra_op: { allow_spinning: '0' }, inter_op: { allow_spinning: '0' } } },
    })
    return { session, device }
  } catch (error) {
    if (others.length === 0) throw error
    devices.shift()
    return createSession()
  }
}

function specs(metadata: InferenceSession['inputMetadata']): TensorSpec[] {
  return metadata.map((value) =>
    value.isTensor
      ? { name: value.name, dtype: value.type as Dtype, dims: value.shape }
      : { name: value.name, dtype: 'not a tensor' as Dtype, dims: [] },
  )
}

function toOrt({ dtype, data, dims }: Tensor): OrtTensor {
  return new OrtTensor(dtype as 'float32', data as Float32Array, dims)
}

function fromOrt({ type, data, dims }: OrtTensor): Tensor {
  const bits = data as TensorData
  // Node 24 and newer have a Float16Array; everywhere else in here float16 is its bits
  const plain =
    type === 'float16' ? new Uint16Array(bits.buffer as ArrayBuffer, bits.byteOffset, bits.length) : bits
  return { dtype: type as Dtype, dims, data: plain }
}

async function main(): Promise<void> {
  const { session, device } = await createSession()
  const { inputNames, outputNames } = session

  port.on('message', async ({ id, inputs }: ToWorker) => {
    try {
      const feeds = Object.fromEntries(inputs.map((input, index) => [inputNames[index], toOrt(input)]))
      const results = await session.run(feeds)
      reply({ kind: 'result', id, outputs: outputNames.map((name) => fromOrt(results[name])) })
    } catch (error) {
      reply({ kind: 'failure', id, message: messageOf(error) })
    }
  })
  const inputs = specs(session.inputMetadata)
  const outputs = specs(session.outputMetadata)
  reply({ kind: 'ready', device, inputs, outputs })
}

function reply(message: FromWorker): void {
  port.postMessage(message)
}

main().catch((error) => reply({ kind: 'broken', message: messageOf(error) }))
