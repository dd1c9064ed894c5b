/** The inference worker as the main thread sees it: start it, send it batches, replace it when it dies, stop it. */
import { extname } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import { messageOf, RequestError, StartError, serverStopping, WorkerDied } from './errors.ts'
import { requireUnchanged, stateOf } from './loaded_file.ts'
import type { Tensor, TensorSpec } from './tensor.ts'

export interface SessionOptions {
  modelPath: string
  /** execution providers, in order of preference */
  devices: string[]
  /** ONNX Runtime's intra-op threads */
  threads: number
}

/** The interface that the graph declares; any dtype of ONNX until it is checked. */
export interface GraphInfo {
  /** the execution provider in use */
  device: string
  inputs: TensorSpec[]
  outputs: TensorSpec[]
}

export interface Session extends GraphInfo {
  /** false while the worker is being replaced */
  readonly isRunning: boolean
  /**
   * Run one batch. The input's memory is transferred to the worker.
   *
   * @param input [n, ...], for the graph's only input
   * @param outputs names of the outputs to compute
   * @throws RequestError 400 when the runtime fails on this input, 503 when no worker can be started; WorkerDied when the
   * worker exits before it answers
   */
  run(input: Tensor, outputs: readonly string[]): Promise<Tensor[]>
  /** Load the model again with another number of threads, after the runs that were requested before. */
  useThreads(threads: number): Promise<void>
  /** End the worker after the runs that were requested before, and start another. */
  restart(): Promise<void>
  /** End the worker after its current run: in the middle of one, ONNX Runtime (1.30) would abort the whole process. */
  close(): Promise<void>
}

export type Task = { input: Tensor; outputs: readonly string[] } | { threads: number } | { isLast: true }

/** A result or a failure for each task, in the order of the tasks. */
export type FromWorker =
  | ({ kind: 'ready' } & GraphInfo)
  | { kind: 'broken'; message: string }
  | { kind: 'result'; outputs: Tensor[] }
  | { kind: 'failure'; message: string }

interface RunningWorker extends GraphInfo {
  send(task: Task): Promise<Tensor[]>
  /** resolves when the worker has exited, for any reason */
  exited: Promise<WorkerDied>
}

/**
 * Limit for a thread's young generation: V8 would otherwise let it grow to 48 MB, and Node 24 to 96 MB, before collecting.
 * Needs `configureHeap` where Node was started with --max-semi-space-size.
 */
export const WORKER_LIMITS = { maxYoungGenerationSizeMb: 3 }

/** As .ts or .js, whichever is running. */
const MODULE = new URL(`./session_worker${extname(import.meta.filename)}`, import.meta.url)

/** A worker that lived this long is replaced at once; otherwise the delay doubles each time. */
const LONG_LIFE_MS = 1000
const MAX_RESTART_DELAY_MS = 5000

/** The log has the cause. */
function unavailable(): RequestError {
  const detail = 'the model cannot be loaded right now: try again later'
  return new RequestError(503, detail, { 'retry-after': '5' })
}

/** The request was checked before, so only the graph itself can fail on its values or sizes. */
export function modelFailure(message: string): RequestError {
  return new RequestError(400, `the model failed on this input: ${message.replace(/\s*\n\s*/g, ' ')}`)
}

/**
 * A graph may drop rows, as Compress does: then nobody knows whose are left.
 *
 * @throws RequestError 400 unless each output has a row for each sample
 */
export function requireRows(outputs: readonly Tensor[], samples: number): void {
  const other = outputs.find(({ dims }) => dims[0] !== samples)
  if (other)
    throw modelFailure(`its output for ${samples} samples is [${other.dims}], expected [${samples},...]`)
}

/** The first line of the runtime's message says what is wrong. */
function loadFailure({ modelPath, devices }: SessionOptions, message: string): StartError {
  const device = devices.at(-1)
  const hint = device === 'cpu' ? '' : ' (DEVICE=cpu always works)'
  return new StartError(`${modelPath} cannot be loaded on ${device}: ${message.trim().split('\n')[0]}${hint}`)
}

/**
 * Load a model in a worker thread, and again in a new one whenever it dies.
 *
 * @param onWorkerExit called with the cause each time a worker dies
 * @param onFailedRestart called with the cause each time no other can be started
 * @throws StartError with the runtime's reason when it cannot load the model
 */
export async function startSession(
  options: SessionOptions,
  onWorkerExit: (error: Error) => void,
  onFailedRestart: (error: Error) => void,
): Promise<Session> {
  let { threads } = options
  let shortLives = 0
  let isRunning = false
  let isClosed = false
  /** the latest restart failed */
  let isBroken = false

  const loaded = stateOf(options.modelPath)
  const first = await startWorker(options)
  const { device, inputs, outputs } = first
  let current = Promise.resolve(first)
  watch(first)

  function watch(worker: RunningWorker): void {
    isRunning = true
    isBroken = false
    const startedAt = performance.now()
    void worker.exited.then((error) => {
      isRunning = false
      if (isClosed) return
      shortLives = performance.now() - startedAt > LONG_LIFE_MS ? 0 : shortLives + 1
      onWorkerExit(error)
      replace()
    })
  }

  function replace(): void {
    const delayMs = shortLives === 0 ? 0 : Math.min(MAX_RESTART_DELAY_MS, 50 * 2 ** shortLives)
    current = setTimeout(delayMs, undefined, { ref: false }).then(() => {
      requireUnchanged(options.modelPath, loaded)
      return startWorker({ ...options, threads, devices: [device] })
    })
    current.then(watch, (error) => {
      shortLives++
      if (isClosed) return
      isBroken = true
      onFailedRestart(error)
      replace()
    })
  }

  async function send(task: Task): Promise<Tensor[]> {
    if (isClosed) throw serverStopping()
    if (isBroken) throw unavailable()
    const worker = await current.catch(() => {
      throw unavailable()
    })
    return worker.send(task)
  }

  return {
    device,
    inputs,
    outputs,
    get isRunning() {
      return isRunning
    },
    run: (input, names) => send({ input, outputs: names }),
    async useThreads(count) {
      threads = count
      await send({ threads })
    },
    restart: () => end(current),
    close() {
      isClosed = true
      return end(current)
    },
  }
}

/** Resolves when the worker has finished its runs and exited. */
async function end(starting: Promise<RunningWorker>): Promise<void> {
  const worker = await starting.catch(() => undefined)
  worker?.send({ isLast: true }).catch(() => {}) // it exits instead of answering
  await worker?.exited
}

/** @throws StartError when the runtime cannot load the model */
function startWorker(options: SessionOptions): Promise<RunningWorker> {
  // The runtime's official builds send telemetry unless this is set before the library is loaded, and only the main
  // thread's environment is the process's.
  process.env.ORT_DISABLE_TELEMETRY = '1'
  const worker = new Worker(MODULE, {
    workerData: options,
    name: 'inference',
    resourceLimits: WORKER_LIMITS,
  })
  const pending: { resolve: (outputs: Tensor[]) => void; reject: (error: Error) => void }[] = []
  let cause = ''
  let exitError: WorkerDied | undefined

  worker.on('error', (error) => {
    cause = `: ${messageOf(error)}`
  })
  const exited = new Promise<WorkerDied>((resolve) => {
    worker.on('exit', (code) => {
      exitError = new WorkerDied(`the inference worker ended with code ${code}${cause}`)
      for (const { reject } of pending) reject(exitError)
      resolve(exitError)
    })
  })

  function send(task: Task): Promise<Tensor[]> {
    if (exitError) return Promise.reject(exitError)
    return new Promise((resolve, reject) => {
      worker.postMessage(task, 'input' in task ? [task.input.data.buffer as ArrayBuffer] : [])
      pending.push({ resolve, reject }) // after the line above, which may throw
    })
  }

  return new Promise((resolve, reject) => {
    void exited.then(reject)
    worker.on('message', (message: FromWorker) => {
      if (message.kind === 'ready') return resolve({ ...message, send, exited })
      if (message.kind === 'broken') {
        reject(loadFailure(options, message.message))
        return void worker.terminate()
      }
      const job = pending.shift()
      if (message.kind === 'result') job?.resolve(message.outputs)
      else job?.reject(modelFailure(message.message))
    })
  })
}
