/** A few decoder processes, started on demand and killed when they hang, idle or have used much memory. */
import { type ChildProcess, fork } from 'node:child_process'
import { extname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { RequestError } from '../inference/errors.ts'
import type { Signal } from '../inference/signal.ts'
import type { FromDecoder, ToDecoder } from './decoder_process.ts'
import { FairQueue } from './fair_queue.ts'
import type { ImageResult, ImageTask } from './image_task.ts'

/** Most time for an image, however little processor time it got. */
const MAX_MS = 20_000
/** An idle process is ended after this time, to free its memory. */
const IDLE_MS = 30_000

const MODULE = fileURLToPath(new URL(`./decoder_process${extname(import.meta.filename)}`, import.meta.url))

export class DecoderProcesses {
  readonly #queue: FairQueue
  readonly #largeQueue = new FairQueue(1)
  readonly #idle = new Map<ChildProcess, NodeJS.Timeout>()
  readonly #busy = new Set<ChildProcess>()

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

  /** Estimated whole seconds until all of them are done. */
  get estimatedWaitSeconds(): number {
    return this.#queue.estimatedWaitSeconds + this.#largeQueue.estimatedWaitSeconds
  }

  /**
   * @param isLarge whether the image is known to have more than ORDINARY_PIXELS
   * @throws RequestError 413, 415, 422, or the signal's reason
   */
  async run(task: ImageTask, signal: Signal, isLarge: boolean): Promise<ImageResult> {
    const result = isLarge
      ? undefined
      : await this.#queue.run(signal, () => this.#runIn({ ...task, isLargeAllowed: false }))
    return result ?? this.#largeQueue.run(signal, () => this.#runLarge(task, signal))
  }

  async #runLarge(task: ImageTask, signal: Signal): Promise<ImageResult> {
    const result = await this.#queue.run(signal, () => this.#runIn({ ...task, isLargeAllowed: true }))
    if (result === undefined) throw new Error('a decoder process returned nothing for a large image')
    return result
  }

  #runIn(task: ToDecoder): Promise<ImageResult | undefined> {
    const child = this.#take()
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => child.kill('SIGKILL'), MAX_MS)
      const onExit = () => {
        finish(false)
        reject(new RequestError(422, 'the image crashed its decoder: save it again, as a JPEG or PNG'))
      }
      const onMessage = (message: FromDecoder) => {
        // the memory of a large image goes back to the system with its process
        finish(!task.isLargeAllowed)
        if ('result' in message) return resolve(message.result)
        reject(
          'fault' in message ? new Error(message.fault) : new RequestError(message.status, message.detail),
        )
      }
      const finish = (isReusable: boolean) => {
        clearTimeout(timer)
        child.off('message', onMessage).off('exit', onExit)
        this.#giveBack(child, isReusable)
      }
      child.once('message', onMessage).once('exit', onExit)
      child.send(task, () => {}) // an error here is followed by the exit
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
    child.on('error', () => {}) // followed by the exit
    child.once('exit', () => {
      clearTimeout(this.#idle.get(child))
      this.#idle.delete(child)
    })
    // neither keeps the server's process running
    child.unref()
    child.channel?.unref()
    return child
  }

  #giveBack(child: ChildProcess, isReusable: boolean): void {
    this.#busy.delete(child)
    if (!isReusable || !child.connected) return void child.kill('SIGKILL')
    const timer = setTimeout(() => child.kill('SIGKILL'), IDLE_MS)
    timer.unref()
    this.#idle.set(child, timer)
  }

  /** Kill all processes, even those that are decoding. */
  close(): void {
    for (const child of [...this.#idle.keys(), ...this.#busy]) child.kill('SIGKILL')
  }
}
