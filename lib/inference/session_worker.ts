/** The thread that owns the ONNX Runtime session. ONNX Runtime's `run` blocks its thread: here it blocks nobody. */
import { setPriority } from 'node:os'
import { parentPort, workerData } from 'node:worker_threads'
import { env, InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node'
import { messageOf } from './errors.ts'
import type { FromWorker, SessionOptions, ToWorker } from './session.ts'
import type { AnySpec, AnyTensor } from './tensor.ts'

const { modelPath, devices, threads } = workerData as SessionOptions
const port = parentPort!

// the runtime's own lines on stderr: what matters comes as an error, and is said in our words
env.logLevel = 'fatal'

// The event loop goes first where there are fewer cores than threads that want one: it has little to do, and all wait
// for it. On Linux this is for this thread and those that the runtime starts in it; elsewhere it would be the process.
if (process.platform === 'linux') setPriority(5)

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

async function run(
  session: InferenceSession,
  inputs: AnyTensor[],
  outputs: readonly string[],
): Promise<AnyTensor[]> {
  const feeds = Object.fromEntries(inputs.map((input, index) => [session.inputNames[index], toOrt(input)]))
  const results = await session.run(feeds, outputs)
  return outputs.map((name) => fromOrt(results[name]))
}

function specs(metadata: InferenceSession['inputMetadata']): AnySpec[] {
  return metadata.map((value) => {
    const { type, shape } = value.isTensor ? value : { type: 'not a tensor', shape: [] }
    return { name: value.name, dtype: type as AnySpec['dtype'], dims: shape }
  })
}

function toOrt({ dtype, data, dims }: AnyTensor): OrtTensor {
  return new OrtTensor(dtype as 'float32', data as Float32Array, dims)
}

function fromOrt({ type, data, dims }: OrtTensor): AnyTensor {
  return { dtype: type, dims, data } as AnyTensor
}

function reply(message: FromWorker): void {
  port.postMessage(message)
}

async function main(): Promise<void> {
  let session = await createSession(threads)

  async function answer(message: ToWorker): Promise<AnyTensor[]> {
    if ('inputs' in message) return run(session, message.inputs, message.outputs)
    if ('isLast' in message) process.exit(0) // of this thread
    await session.release()
    session = await createSession(message.threads)
    return []
  }

  // one after the other: what comes while a session is exchanged, or before the end, waits
  let before = Promise.resolve()
  port.on('message', (message: ToWorker) => {
    const { id } = message
    before = before
      .then(() => answer(message))
      .then(
        (outputs) => reply({ kind: 'result', id, outputs }),
        (error) => reply({ kind: 'failure', id, message: messageOf(error) }),
      )
  })
  const { inputMetadata, outputMetadata } = session
  reply({ kind: 'ready', device: devices[0], inputs: specs(inputMetadata), outputs: specs(outputMetadata) })
}

main().catch((error) => reply({ kind: 'broken', message: messageOf(error) }))
