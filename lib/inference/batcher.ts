/** The batch queue: what waits when the session becomes free is the next batch, so batches grow with the load. */
import { RequestError, WorkerDied } from './errors.ts'
import { Rate } from './rate.ts'
import { modelFailure, requireRows } from './session.ts'
import type { Signal } from './signal.ts'
import { canConcatenate, concatenate, slice, type Tensor } from './tensor.ts'
import type { Timings } from './timings.ts'

/** Runs one batch, [n, ...]. @param outputs names of the graph's outputs @returns one tensor per name, each [n, ...] */
export type RunBatch = (input: Tensor, outputs: readonly string[]) => Promise<Tensor[]>

export interface BatcherOptions {
  /** most samples in a batch */
  maxBatchSize: number
  /** the graph takes exactly `maxBatchSize` samples: smaller batches are padded with zeros */
  isFixed: boolean
  /** how long an incomplete batch waits for more samples, in milliseconds */
  maxDelayMs: number
  /** called with the milliseconds a job waited for its first batch */
  onWait?: (ms: number) => void
  /** called after each batch with its samples and its duration in milliseconds */
  onBatch?: (samples: number, ms: number) => void
}

/** The request a job belongs to. */
export interface JobContext {
  /** aborting it removes the job from the queue */
  signal: Signal
  /** receives queueMs, inferenceMs and batchSize */
  timings: Timings
}

/** One tensor to predict; a large one is spread over several batches. */
interface Job extends JobContext {
  input: Tensor
  /** names of the graph's outputs */
  outputs: readonly string[]
  /** jobs share a batch only if their sample shapes and outputs are equal */
  batchKey: string
  samples: number
  sent: number
  received: number
  /** for each output, its parts in the order of the samples */
  parts: Tensor[][]
  arrivedAt: number
  /** retried at most once after its worker died */
  isRetried: boolean
  isSettled: boolean
  resolve: (outputs: Tensor[]) => void
  reject: (error: unknown) => void
}

/** `count` samples of a job, from sample `from` on, within one batch. */
interface Slice {
  job: Job
  from: number
  count: number
}

export class Batcher {
  readonly #run: RunBatch
  readonly #options: BatcherOptions
  #queue: Job[] = []
  #waiting = 0
  #isRunning = false
  readonly #rate = new Rate()
  #delay: NodeJS.Timeout | undefined

  constructor(run: RunBatch, options: BatcherOptions) {
    this.#run = run
    this.#options = options
  }

  /** Samples that wait for a batch. */
  get waiting(): number {
    return this.#waiting
  }

  /** Estimated seconds until all waiting samples have been run. */
  get estimatedWaitSeconds(): number {
    return this.#rate.secondsFor(this.#waiting)
  }

  /**
   * Queue a tensor.
   *
   * @param input [n, ...], n >= 1; its dtype and dims must fit the graph
   * @param outputs names of the graph's outputs
   * @returns one tensor per name, each [n, ...]
   * @throws RequestError 503 when the worker died twice while running it, the signal's reason, or what `run` throws
   */
  predict(input: Tensor, outputs: readonly string[], { signal, timings }: JobContext): Promise<Tensor[]> {
    return new Promise((resolve, reject) => {
      if (signal.reason) return reject(signal.reason)
      const [samples, ...sampleDims] = input.dims
      const job: Job = {
        input,
        outputs,
        batchKey: [sampleDims.join('x'), ...outputs].join(),
        samples,
        sent: 0,
        received: 0,
        parts: outputs.map(() => []),
        arrivedAt: performance.now(),
        signal,
        timings,
        isRetried: false,
        isSettled: false,
        resolve,
        reject,
      }
      this.#queue.push(job)
      this.#waiting += samples
      signal.onAbort((reason) => this.#fail(job, reason))
      this.#runNext()
    })
  }

  #runNext(): void {
    if (this.#isRunning || this.#queue.length === 0 || this.#isDelayed()) return
    this.#isRunning = true
    this.#runSlices(this.#takeBatch()).finally(() => {
      this.#isRunning = false
      this.#runNext()
    })
  }

  /** Whether an incomplete batch should go on waiting; if so, sets a timer for its end. */
  #isDelayed(): boolean {
    const { maxBatchSize, maxDelayMs } = this.#options
    const isFull = this.#waiting >= maxBatchSize
    const leftMs = isFull ? 0 : this.#queue[0].arrivedAt + maxDelayMs - performance.now()
    if (leftMs <= 0) {
      clearTimeout(this.#delay)
      this.#delay = undefined
      return false
    }
    this.#delay ??= setTimeout(() => {
      this.#delay = undefined
      this.#runNext()
    }, leftMs)
    return true
  }

  /** The oldest job and those after it with the same batch key, up to a full batch. */
  #takeBatch(): Slice[] {
    const slices: Slice[] = []
    const now = performance.now()
    const { batchKey } = this.#queue[0]
    let free = this.#options.maxBatchSize
    for (const job of this.#queue) {
      if (free === 0) break
      if (job.batchKey !== batchKey) continue
      const count = Math.min(job.samples - job.sent, free)
      if (job.sent === 0) this.#recordWait(job, now - job.arrivedAt)
      slices.push({ job, from: job.sent, count })
      job.sent += count
      free -= count
    }
    this.#waiting -= this.#options.maxBatchSize - free
    this.#queue = this.#queue.filter((job) => job.sent < job.samples)
    return slices
  }

  #recordWait({ timings }: Job, ms: number): void {
    timings.queueMs = Math.max(timings.queueMs ?? 0, ms)
    this.#options.onWait?.(ms)
  }

  async #runSlices(slices: Slice[]): Promise<void> {
    const startedAt = performance.now()
    try {
      const input = this.#gather(slices)
      const outputs = await this.#run(input, slices[0].job.outputs)
      requireRows(outputs, input.dims[0])
      this.#recordBatch(slices, performance.now() - startedAt)
      deliver(slices, outputs)
    } catch (error) {
      // a sample that fails, or kills the worker, must not affect the others in its batch: run each job on its own
      if (error instanceof RequestError && error.status === 400 && slices.length > 1)
        return this.#runEach(slices)
      if (error instanceof WorkerDied) return this.#runEach(slices.filter((slice) => this.#mayRetry(slice)))
      for (const { job } of slices) this.#fail(job, error)
    }
  }

  async #runEach(slices: Slice[]): Promise<void> {
    for (const slice of slices) if (!slice.job.isSettled) await this.#runSlices([slice])
  }

  #mayRetry({ job }: Slice): boolean {
    if (job.isSettled) return false
    if (!job.isRetried) {
      job.isRetried = true
      return true
    }
    const detail = 'the inference worker died twice while running this request: try again later'
    this.#fail(job, new RequestError(503, detail, { 'retry-after': '1' }))
    return false
  }

  #recordBatch(slices: Slice[], ms: number): void {
    const samples = countSamples(slices)
    for (const { timings } of slices.map(({ job }) => job)) {
      timings.inferenceMs = Math.max(timings.inferenceMs ?? 0, ms)
      timings.batchSize = Math.max(timings.batchSize ?? 0, samples)
    }
    this.#rate.record(samples, ms)
    this.#options.onBatch?.(samples, ms)
  }

  #fail(job: Job, error: unknown): void {
    if (job.isSettled) return
    if (this.#queue.includes(job)) {
      this.#queue = this.#queue.filter((other) => other !== job)
      this.#waiting -= job.samples - job.sent
    }
    job.isSettled = true
    job.reject(error)
  }

  /** Copy the slices into one tensor. */
  #gather(slices: Slice[]): Tensor {
    const { isFixed, maxBatchSize } = this.#options
    const parts = slices.map(({ job, from, count }) => slice(job.input, from, from + count))
    return concatenate(parts, isFixed ? maxBatchSize : countSamples(slices))
  }
}

const countSamples = (slices: Slice[]) => slices.reduce((sum, { count }) => sum + count, 0)

/** Give each job its rows of a batch's outputs; resolve the jobs that now have all of theirs. */
function deliver(slices: Slice[], outputs: Tensor[]): void {
  let row = 0
  for (const { job, count } of slices) {
    for (const [index, output] of outputs.entries()) job.parts[index].push(slice(output, row, row + count))
    row += count
    job.received += count
    if (job.received < job.samples) continue
    job.isSettled = true
    // a graph's dims may depend on the values
    const other = job.parts.find((parts) => !canConcatenate(parts))
    if (other)
      job.reject(
        modelFailure(`its output is [${other[0].dims}] in one batch, [${other[1].dims}] in the next`),
      )
    else
      job.resolve(job.parts.map((parts) => (parts.length === 1 ? parts[0] : concatenate(parts, job.samples))))
  }
}
