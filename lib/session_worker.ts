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

// Node 24 has a Float16Array, which the runtime's JavaScript then uses and its native half (1.30) cannot read; without
// it both use the bits. It looks for it when the first tensor is made.
Reflect.deleteProperty(globalThis, 'Float16Array')

/** Load the model on the first of the devices that works; more than one is asked for only under DEVICE=auto. */
async function createSession(threads: number): Promise<InferenceSession> {
  try {
    return await InferenceSession.create(modelPath, {
      executionProviders: [devices[0]],
      intraOpNumThreads: threads,
      logSeverityLevel: 4,
      // a waiting thread that spins takes the core that the event loop needs
      extra: { session: { intra_op: { allow_spinning: '0' }, inter_op: { allow_spinning: '0' } } },
    })
  } catch (error) {
    if (devices.length === 1) throw error
    devices.shift()
    return createSession(threads)
  }
}

async function run(session: InferenceSession, inputs: Tensor[]): Promise<Tensor[]> {
  const feeds = Object.fromEntries(inputs.map((input, index) => [session.inputNames[index], toOrt(input)]))
  // the scores come first; what else a graph may give is not computed
  const [scores] = session.outputNames
  const results = await session.run(feeds, [scores])
  return [fromOrt(results[scores])]
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
  return { dtype: type as Dtype, dims, data: data as TensorData }
}

function reply(message: FromWorker): void {
  port.postMessage(message)
}

async function main(): Promise<void> {
  let session = await createSession(threads)

  async function answer(message: ToWorker): Promise<Tensor[]> {
    if ('inputs' in message) return run(session, message.inputs)
    await session.release()
    session = await createSession(message.threads)
    return []
  }

  port.on('message', (message: ToWorker) => {
    const { id } = message
    answer(message).then(
      (outputs) => reply({ kind: 'result', id, outputs }),
      (error) => reply({ kind: 'failure', id, message: messageOf(error) }),
    )
  })
  const { inputMetadata, outputMetadata } = session
  reply({ kind: 'ready', device: devices[0], inputs: specs(inputMetadata), outputs: specs(outputMetadata) })
}

main().catch((error) => reply({ kind: 'broken', message: messageOf(error) }))
