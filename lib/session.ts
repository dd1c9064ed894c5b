/** The main thread's side of the inference worker: start it, send it batches, stop it. */
import { extname } from 'node:path'
import { Worker } from 'node:worker_threads'
import { RequestError, StartError } from './errors.ts'
import type { AnySpec, AnyTensor } from './tensor.ts'

export interface SessionOptions {
  modelPath: string
  /** execution providers, tried in this order */
  devices: string[]
  /** ONNX Runtime's threads within one operator */
  threads: number
}

export interface Session {
  /** the execution provider that the model runs on */
  device: string
  /** as the graph declares them, in its order */
  inputs: AnySpec[]
  outputs: AnySpec[]
  /**
   * Run one batch. The inputs' memory moves to the worker and cannot be used afterwards.
   *
   * @param outputs names of those that are wanted; what else the graph may give is not computed
   * @throws RequestError 400 when the runtime fails on these numbers, Error when the worker has died
   */
  run(inputs: AnyTensor[], outputs: readonly string[]): Promise<AnyTensor[]>
  /** Load the model again, with as many threads; runs that were asked for before are answered before. */
  useThreads(threads: number): Promise<void>
  close(): Promise<void>
}

type Task = { inputs: AnyTensor[]; outputs: readonly string[] } | { threads: number }

export type ToWorker = { id: number } & Task

export type FromWorker =
  | { kind: 'ready'; device: string; inputs: AnySpec[]; outputs: AnySpec[] }
  | { kind: 'broken'; message: string }
  | { kind: 'result'; id: number; outputs: AnyTensor[] }
  | { kind: 'failure'; id: number; message: string }

type Pending = { resolve: (outputs: AnyTensor[]) => void; reject: (error: Error) => void }

/** A module beside this one, as .ts or .js, whichever is running. */
export function siblingModule(name: string): URL {
  return new URL(`./${name}${extname(import.meta.filename)}`, import.meta.url)
}

/** What was wrong with the request is checked before: what is left are numbers or sizes that only the graph knows. */
function modelFailure(message: string): RequestError {
  return new RequestError(400, `the model failed on this input: ${message.replace(/\s*\n\s*/g, ' ')}`)
}

/** The runtime's messages can have many lines, of which the first says it. */
function loadFailure({ modelPath, devices }: SessionOptions, message: string): StartError {
  const device = devices.at(-1)
  const hint = device === 'cpu' ? '' : ' (DEVICE=cpu always works)'
  return new StartError(`${modelPath} cannot be loaded on ${device}: ${message.trim().split('\n')[0]}${hint}`)
}

/**
 * Load a model in a worker of its own.
 *
 * @throws StartError when the runtime cannot load it, with its reason
 */
export function startSession(options: SessionOptions): Promise<Session> {
  // The runtime's official builds send telemetry unless this is set before the library loads, and only the
  // main thread's environment is the process's.
  process.env.ORT_DISABLE_TELEMETRY = '1'
  const worker = new Worker(siblingModule('session_worker'), { workerData: options, name: 'inference' })
  const pending = new Map<number, Pending>()
  let lastId = 0
  let death: Error | undefined
  let isServing = false

  function die(error: Error): void {
    death ??= error
    for (const { reject } of pending.values()) reject(error)
    pending.clear()
    if (!isServing) return
    isServing = false
    // a server without its model is of no use: the process ends with the cause, and its supervisor starts another
    setImmediate(() => {
      throw error
    })
  }

  function ask(task: Task, moved: ArrayBuffer[] = []): Promise<AnyTensor[]> {
    if (death) return Promise.reject(death)
    return new Promise((resolve, reject) => {
      const message: ToWorker = { id: ++lastId, ...task }
      pending.set(message.id, { resolve, reject })
      worker.postMessage(message, moved)
    })
  }

  const handle = {
    run(inputs: AnyTensor[], outputs: readonly string[]) {
      const moved = inputs.flatMap(({ data }) => (Array.isArray(data) ? [] : [data.buffer as ArrayBuffer]))
      return ask({ inputs, outputs }, moved)
    },
    async useThreads(threads: number) {
      await ask({ threads })
    },
    async close() {
      isServing = false
      await worker.terminate()
    },
  }

  return new Promise((resolve, reject) => {
    worker.on('error', (error) => {
      reject(error)
      die(error)
    })
    worker.on('exit', (code) => {
      const error = new Error(`the inference worker ended with code ${code}`)
      reject(error)
      die(error)
    })
    worker.on('message', (message: FromWorker) => {
      switch (message.kind) {
        case 'ready': {
          const { device, inputs, outputs } = message
          isServing = true
          resolve({ device, inputs, outputs, ...handle })
          break
        }
        case 'broken':
          reject(loadFailure(options, message.message))
          void worker.terminate()
          break
        case 'result':
          pending.get(message.id)?.resolve(message.outputs)
          pending.delete(message.id)
          break
        case 'failure':
          pending.get(message.id)?.reject(modelFailure(message.message))
          pending.delete(message.id)
      }
    })
  })
}
