/** The thread that owns the ONNX Runtime session, whose `run` blocks the thread it is called on. */
import { setPriority } from 'node:os'
import { MessageChannel, parentPort, workerData } from 'node:worker_threads'
import { env, InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node'
import { messageOf } from './errors.ts'
import type { FromWorker, SessionOptions, Task } from './session.ts'
import type { Tensor, TensorSpec } from './tensor.ts'

const { modelPath, devices, threads } = workerData as SessionOptions
const port = parentPort!

// silence the runtime's own lines on stderr: everything that matters is also thrown
env.logLevel = 'fatal'

// The event loop gets priority when threads compete for a core: it has little to do, and everything waits for it. On Linux
// this applies to this thread and those it starts; elsewhere it would apply to the whole process.
if (process.platform === 'linux') setPriority(5)

// With Node 24's Float16Array, the runtime's JavaScript half makes tensors that its native half (1.30) cannot read;
// without it, both use the bits. The runtime looks for it when the first tensor is created.
Reflect.deleteProperty(globalThis, 'Float16Array')

/**
 * Memory that is posted to a closed port is freed at once. Left to the garbage collector, a few hundred large inputs would
 * pile up, and delay a batch when they are collected: see `release` in preprocess/, which this thread need not load.
 */
const { port1: nowhere, port2: otherEnd } = new MessageChannel()
otherEnd.close()
const LARGE_BYTES = 2 ** 14

/** Load the model on the first device that works; there is more than one only with DEVICE=auto. */
async function createSession(threads: number): Promise<InferenceSession> {
  try {
    return await InferenceSession.create(modelPath, {
      executionProviders: [devices[0]],
      intraOpNumThreads: threads,
      logSeverityLevel: 4,
      // a spinning thread would take the core the event loop needs
      extra: { session: { intra_op: { allow_spinning: '0' }, inter_op: { allow_spinning: '0' } } },
    })
  } catch (error) {
    if (devices.length === 1) throw error
    devices.shift()
    return createSession(threads)
  }
}

async function run(session: InferenceSession, input: Tensor, outputs: readonly string[]): Promise<Tensor[]> {
  const feeds = { [session.inputNames[0]]: toOrt(input) }
  const results = await session.run(feeds, outputs)
  if (input.data.byteLength >= LARGE_BYTES) nowhere.postMessage(null, [input.data.buffer as ArrayBuffer])
  return outputs.map((name) => fromOrt(results[name]))
}

function specsOf(metadata: InferenceSession['inputMetadata']): TensorSpec[] {
  return metadata.map((value) => {
    const { type, shape } = value.isTensor ? value : { type: 'not a tensor', shape: [] }
    return { name: value.name, dtype: type as TensorSpec['dtype'], dims: shape }
  })
}

function toOrt({ dtype, data, dims }: Tensor): OrtTensor {
  return new OrtTensor(dtype as 'float32', data as Float32Array, dims)
}

function fromOrt({ type, data, dims }: OrtTensor): Tensor {
  return { dtype: type, dims, data } as Tensor
}

function reply(message: FromWorker): void {
  port.postMessage(message)
}

async function main(): Promise<void> {
  let session = await createSession(threads)

  async function handle(task: Task): Promise<Tensor[]> {
    if ('input' in task) return run(session, task.input, task.outputs)
    if ('isLast' in task) process.exit(0) // ends this thread
    await session.release()
    session = await createSession(task.threads)
    return []
  }

  // one at a time and in order: tasks that arrive while the session is being exchanged wait for it
  let previous = Promise.resolve()
  port.on('message', (task: Task) => {
    previous = previous
      .then(() => handle(task))
      .then(
        (outputs) => reply({ kind: 'result', outputs }),
        (error) => reply({ kind: 'failure', message: messageOf(error) }),
      )
  })
  const { inputMetadata, outputMetadata } = session
  reply({
    kind: 'ready',
    device: devices[0],
    inputs: specsOf(inputMetadata),
    outputs: specsOf(outputMetadata),
  })
}

main().catch((error) => reply({ kind: 'broken', message: messageOf(error) }))
