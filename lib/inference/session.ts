/** The main thread's side of the inference worker: start it, send it batches, start it again when it dies, stop it. */
import { extname } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { messageOf, RequestError, StartError, WorkerDied } from './errors.ts'
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
  readonly device: string
  /** as the graph declares them, in its order */
  readonly inputs: AnySpec[]
  readonly outputs: AnySpec[]
  /** whether a worker is there; not while it is started again */
  readonly isRunning: boolean
  /**
   * Run one batch. The inputs' memory moves to the worker and cannot be used afterwards.
   *
   * @param outputs names of those that are wanted; what else the graph may give is not computed
   * @throws RequestError 400 when the runtime fails on these numbers, 503 when no worker can be started;
   * WorkerDied when it died of this or beside it
   */
  run(inputs: AnyTensor[], outputs: readonly string[]): Promise<AnyTensor[]>
  /** Load the model again, with as many threads; runs that were asked for before are answered before. */
  useThreads(threads: number): Promise<void>
  /**
   * End the worker, behind the run that it is in: ended in the middle of one, ONNX Runtime (1.30) would abort the whole
   * process.
   */
  close(): Promise<void>
}

type Task = { inputs: AnyTensor[]; outputs: readonly string[] } | { threads: number } | { isLast: true }

export type ToWorker = { id: number } & Task

export type FromWorker =
  | { kind: 'ready'; device: string; inputs: AnySpec[]; outputs: AnySpec[] }
  | { kind: 'broken'; message: string }
  | { kind: 'result'; id: number; outputs: AnyTensor[] }
  | { kind: 'failure'; id: number; message: string }

/** One worker, from its start to its end. */
interface LiveWorker extends Pick<Session, 'device' | 'inputs' | 'outputs'> {
  ask(task: Task): Promise<AnyTensor[]>
  /** settles when it has ended, for whatever reason */
  died: Promise<WorkerDied>
}

/** A worker that lived as long is started again at once, else each time after twice the time. */
const LONG_LIFE_MS = 1000
const LONGEST_WAIT_MS = 5000

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
 * Load a model in a worker of its own, and again in another whenever it dies.
 *
 * @param onDeath told why, each time
 * @throws StartError when the runtime cannot load it, with its reason
 */
export async function startSession(
  options: SessionOptions,
  onDeath: (error: Error) => void,
): Promise<Session> {
  let { threads } = options
  let shortLives = 0
  let isRunning = false
  let isClosed = false

  const first = await startWorker(options)
  const { device, inputs, outputs } = first
  let current = Promise.resolve(first)
  watch(first)

  function watch(worker: LiveWorker): void {
    isRunning = true
    const born = performance.now()
    void worker.died.then((error) => {
      isRunning = false
      if (isClosed) return
      shortLives = performance.now() - born > LONG_LIFE_MS ? 0 : shortLives + 1
      restart(error)
    })
  }

  function restart(error: Error): void {
    onDeath(error)
    const wait = shortLives === 0 ? 0 : Math.min(LONGEST_WAIT_MS, 50 * 2 ** shortLives)
    current = setTimeout(wait, undefined, { ref: false }).then(() =>
      startWorker({ ...options, threads, devices: [device] }),
    )
    current.then(watch, (reason) => {
      shortLives++
      if (!isClosed) restart(reason)
    })
  }

  async function ask(task: Task): Promise<AnyTensor[]> {
    if (isClosed) throw new RequestError(503, 'the server is stopping: send this elsewhere')
    const worker = await current.catch((error) => {
      const detail = `the model cannot be loaded at present (${messageOf(error)}): try again later`
      throw new RequestError(503, detail, { 'retry-after': '5' })
    })
    return worker.ask(task)
  }

  return {
    device,
    inputs,
    outputs,
    get isRunning() {
      return isRunning
    },
    run: (tensors, names) => ask({ inputs: tensors, outputs: names }),
    async useThreads(count) {
      threads = count
      await ask({ threads })
    },
    async close() {
      isClosed = true
      const worker = await current.catch(() => undefined)
      worker?.ask({ isLast: true }).catch(() => {}) // its answer is that it ends
      await worker?.died
    },
  }
}

/** @throws StartError when the runtime cannot load the model */
function startWorker(options: SessionOptions): Promise<LiveWorker> {
  // The runtime's official builds send telemetry unless this is set before the library loads, and only the
  // main thread's environment is the process's.
  process.env.ORT_DISABLE_TELEMETRY = '1'
  const worker = new Worker(siblingModule('session_worker'), { workerData: options, name: 'inference' })
  const pending = new Map<
    number,
    { resolve: (outputs: AnyTensor[]) => void; reject: (error: Error) => void }
  >()
  let lastId = 0
  let cause: string | undefined
  let death: WorkerDied | undefined

  const died = new Promise<WorkerDied>((resolve) => {
    worker.on('error', (error) => {
      cause = messageOf(error)
    })
    worker.on('exit', (code) => {
      death = new WorkerDied(`the inference worker ended with code ${code}${cause ? `: ${cause}` : ''}`)
      for (const { reject } of pending.values()) reject(death)
      pending.clear()
      resolve(death)
    })
  })

  function ask(task: Task): Promise<AnyTensor[]> {
    if (death) return Promise.reject(death)
    const tensors = 'inputs' in task ? task.inputs : []
    const moved = tensors.flatMap(({ data }) => (Array.isArray(data) ? [] : [data.buffer as ArrayBuffer]))
    return new Promise((resolve, reject) => {
      const message: ToWorker = { id: ++lastId, ...task }
      pending.set(message.id, { resolve, reject })
      worker.postMessage(message, moved)
    })
  }

  return new Promise((resolve, reject) => {
    void died.then(reject)
    worker.on('message', (message: FromWorker) => {
      switch (message.kind) {
        case 'ready': {
          const { device, inputs, outputs } = message
          resolve({ device, inputs, outputs, ask, died })
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
