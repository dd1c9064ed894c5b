/** At most a few decoder processes, started when they are needed and killed when they take too long or are idle. */
import { type ChildProcess, fork } from 'node:child_process'
import { extname } from 'node:path'
import { RequestError, serverStopping } from '../inference/errors.ts'
import { retryAfter } from '../inference/rate.ts'
import type { Signal } from '../inference/signal.ts'
import type { FromDecoder, ToDecoder } from './decoder_process.ts'
import { FairQueue } from './fair_queue.ts'
import { type ImageResult, type ImageTask, ORDINARY_PIXELS } from './image_task.ts'

/** An image that takes longer than this is given up, however little processor time its process got. */
const MAX_MS = 20_000
/** A process that has been idle for this long is ended, to free its memory; sooner after a large image. */
const IDLE_MS = 30_000
const IDLE_AFTER_LARGE_MS = 500
/** A large image that has waited longer than this is refused, if other requests wait too. */
const MAX_LARGE_WAIT_MS = 2000

const MODULE = new URL(`./decoder_process${extname(import.meta.filename)}`, import.meta.url)

export class DecoderProcesses {
  readonly #queue: FairQueue
  readonly #largeQueue = new FairQueue(1)
  readonly #idle = new Map<ChildProcess, NodeJS.Timeout>()
  readonly #busy = new Set<ChildProcess>()
  #isClosed = false

  /**
   * @param limit most processes, and images that are decoded at once
   * @param onDone called with the duration of each image in milliseconds
   */
  constructor(limit: number, onDone?: (ms: number) => void) {
    this.#queue = new FairQueue(limit, onDone)
  }

  /** Images that wait for a process. */
  get waiting(): number {
    return this.#queue.waiting + this.#largeQueue.waiting
  }

  /** Estimated seconds until all of them are done. */
  get estimatedWaitSeconds(): number {
    return this.#queue.estimatedWaitSeconds + this.#largeQueue.estimatedWaitSeconds
  }

  /**
   * @param isLarge whether the image is known to have more than ORDINARY_PIXELS
   * @throws RequestError 413, 415, 422, 503 when too many large images wait, or the signal's reason
   */
  async run(task: ImageTask, signal: Signal, isLarge: boolean): Promise<ImageResult> {
    const run = (isLargeAllowed: boolean) =>
      this.#queue.run(signal, () => this.#runIn({ ...task, isLargeAllowed }))
    const result = isLarge ? undefined : await run(false)
    if (result) return result
    const queuedAt = performance.now()
    return this.#largeQueue.run(signal, () => {
      const isLate = performance.now() - queuedAt > MAX_LARGE_WAIT_MS
      if (isLate && this.#largeQueue.othersWait(signal)) throw this.#tooManyLarge()
      return run(true) as Promise<ImageResult>
    })
  }

  /** Not the image's fault: its processor time is limited in the process itself. */
  #tooSlow(): RequestError {
    const detail = `the image was not decoded within ${MAX_MS / 1000} seconds, because the machine is busy: try again later`
    return new RequestError(503, detail, retryAfter(this.estimatedWaitSeconds))
  }

  #tooManyLarge(): RequestError {
    const detail = `images of more than ${ORDINARY_PIXELS / 1e6} megapixels are decoded one at a time, and others are waiting: try again later, or send a smaller one`
    return new RequestError(503, detail, retryAfter(this.#largeQueue.estimatedWaitSeconds))
  }

  async #runIn(task: ToDecoder): Promise<ImageResult | undefined> {
    if (this.#isClosed) throw serverStopping()
    const child = this.#take()
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(this.#tooSlow())
        child.kill('SIGKILL')
      }, MAX_MS)
      const onExit = (_code: number | null, signal: string | null) => {
        finish(0)
        reject(this.#isClosed ? serverStopping() : crashed(signal))
      }
      const onError = () => {
        finish(0)
        const detail = 'no process to decode this image can be started: try again later'
        reject(new RequestError(503, detail, { 'retry-after': '5' }))
      }
      const onMessage = (message: FromDecoder) => {
        const idleMs = task.isLargeAllowed ? IDLE_AFTER_LARGE_MS : IDLE_MS
        finish('isLast' in message ? 0 : idleMs)
        if ('result' in message) return resolve(message.result)
        reject(
          'fault' in message ? new Error(message.fault) : new RequestError(message.status, message.detail),
        )
      }
      const finish = (idleMs: number) => {
        clearTimeout(timer)
        child.off('message', onMessage).off('exit', onExit).off('error', onError)
        this.#giveBack(child, idleMs)
      }
      child.once('message', onMessage).once('exit', onExit).once('error', onError)
      child.send?.(task, () => {}) // an error here is followed by `exit`
    })
  }

  #take(): ChildProcess {
    const [idle] = this.#idle
    const child = idle?.[0] ?? this.#fork()
    clearTimeout(idle?.[1])
    this.#idle.delete(child)
    this.#busy.add(child)
    return child
  }

  #fork(): ChildProcess {
    const child = fork(MODULE, { serialization: 'advanced', stdio: ['ignore', 'ignore', 'ignore', 'ipc'] })
    child.on('error', () => {}) // it was not started, or is followed by `exit`
    child.once('exit', () => {
      clearTimeout(this.#idle.get(child))
      this.#idle.delete(child)
    })
    // neither keeps the server's process running
    child.unref()
    child.channel?.unref()
    return child
  }

  #giveBack(child: ChildProcess, idleMs: number): void {
    this.#busy.delete(child)
    if (!child.connected || idleMs === 0) return void child.kill('SIGKILL')
    const timer = setTimeout(() => {
      this.#idle.delete(child) // it exits a moment later
      child.kill('SIGKILL')
    }, idleMs)
    timer.unref()
    this.#idle.set(child, timer)
  }

  /** Kill all processes; images that are being decoded are given up. */
  close(): void {
    this.#isClosed = true
    for (const child of [...this.#idle.keys(), ...this.#busy]) child.kill('SIGKILL')
  }
}

/** The kernel kills a process when the memory is used up, which need not be the image's fault. */
function crashed(signal: string | null): RequestError {
  if (signal === 'SIGKILL') {
    const detail = 'the decoder of the image was killed, as when the memory is used up: try again later'
    return new RequestError(503, detail, { 'retry-after': '5' })
  }
  return new RequestError(422, 'the image made its decoder crash: save it again as a JPEG or PNG')
}
