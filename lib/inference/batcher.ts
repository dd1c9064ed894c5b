/**
 * Whatever waits when the session comes free becomes the next batch: no request waits for another to arrive,
 * and the busier it is, the larger the batches.
 */

import type { Trace } from '../http/context.ts'
import { RequestError, WorkerDied } from './errors.ts'
import { Rate } from './rate.ts'
import { type AnyTensor, concatenate, slice } from './tensor.ts'

/** Runs one batch; all inputs and all outputs have the samples along axis 0. */
export type RunBatch = (inputs: AnyTensor[], outputs: readonly string[]) => Promise<AnyTensor[]>

export interface BatcherOptions {
  /** most samples in a batch */
  maxBatchSize: number
  /** the graph takes batches of exactly `maxBatchSize`: smaller ones are filled up with zeros */
  isFixed: boolean
  /** how long a batch that is not full waits for more, in milliseconds; 0 = not at all */
  maxDelayMs: number
  /** told how many milliseconds a job waited for its first batch */
  onWait?: (ms: number) => void
  /** told of each batch, and how many milliseconds it ran */
  onBatch?: (samples: number, ms: number) => void
}

/** What a job tells of itself, and when it is to be given up. */
export type JobTrace = Pick<Trace, 'interest' | 'queueMs' | 'inferenceMs' | 'batchSize'>

/** A request's samples; it may be spread over several batches. */
interface Job {
  inputs: AnyTensor[]
  /** names of the graph's outputs that are asked for */
  outputs: readonly string[]
  /** jobs of one kind, the shape of a sample and the outputs, can share a batch */
  kind: string
  samples: number
  sent: number
  received: number
  /** for each output, what the batches so far have brought */
  parts: AnyTensor[][]
  arrivedAt: number
  trace: JobTrace
  /** its worker died once: once more is too often */
  isRetried: boolean
  isFinished: boolean
  resolve: (outputs: AnyTensor[]) => void
  reject: (error: unknown) => void
}

/** Samples `from` to `from + count` of a job, within one batch. */
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

  /** Whole seconds until what waits now has been run, see `Rate`. */
  get secondsLeft(): number {
    return this.#rate.secondsFor(this.#waiting)
  }

  /**
   * @param inputs one tensor per input of the graph, each [n, ...] with the same n >= 1; checked by the caller
   * @param outputs names of the graph's outputs
   * @param trace told how long it took; when the interest in it is lost, the job leaves the queue
   * @returns one tensor per name, each [n, ...], in the order of the samples
   * @throws RequestError 503 when the worker died twice under it, what `run` throws, or why the interest was lost
   */
  predict(inputs: AnyTensor[], outputs: readonly string[], trace: JobTrace): Promise<AnyTensor[]> {
    const samples = inputs[0].dims[0]
    return new Promise((resolve, reject) => {
      if (trace.interest.lost) return reject(trace.interest.lost)
      const kind = [...inputs.map(({ dims }) => dims.slice(1).join('x')), outputs].join()
      const arrivedAt = performance.now()
      const parts = outputs.map(() => [])
      const job: Job = {
        inputs,
        outputs,
        kind,
        samples,
        sent: 0,
        received: 0,
        parts,
        arrivedAt,
        trace,
        isRetried: false,
        isFinished: false,
        resolve,
        reject,
      }
      this.#queue.push(job)
      trace.interest.onLoss((reason) => this.#fail(job, reason))
      this.#waiting += samples
      this.#next()
    })
  }

  #next(): void {
    if (this.#isRunning || this.#queue.length === 0) return
    const { maxBatchSize, maxDelayMs } = this.#options
    if (maxDelayMs > 0 && this.#waiting < maxBatchSize) {
      const left = this.#queue[0].arrivedAt + maxDelayMs - performance.now()
      if (left > 0) {
        this.#delay ??= setTimeout(() => {
          this.#delay = undefined
          this.#next()
        }, left)
        return
      }
    }
    clearTimeout(this.#delay)
    this.#delay = undefined
    this.#isRunning = true
    this.#runSlices(this.#take()).finally(() => {
      this.#isRunning = false
      this.#next()
    })
  }

  /** The next batch: samples of the oldest job and of those of its kind behind it. */
  #take(): Slice[] {
    const slices: Slice[] = []
    const now = performance.now()
    const { kind } = this.#queue[0]
    let free = this.#options.maxBatchSize
    for (const job of this.#queue) {
      if (free === 0) break
      if (job.kind !== kind) continue
      const count = Math.min(job.samples - job.sent, free)
      if (job.sent === 0) this.#waited(job, now - job.arrivedAt)
      slices.push({ job, from: job.sent, count })
      job.sent += count
      free -= count
    }
    this.#waiting -= this.#options.maxBatchSize - free
    this.#queue = this.#queue.filter((job) => job.sent < job.samples)
    return slices
  }

  #waited({ trace }: Job, ms: number): void {
    trace.queueMs = Math.max(trace.queueMs ?? 0, ms)
    this.#options.onWait?.(ms)
  }

  async #runSlices(slices: Slice[]): Promise<void> {
    const begun = performance.now()
    try {
      const outputs = await this.#run(this.#gather(slices), slices[0].job.outputs)
      this.#ran(slices, performance.now() - begun)
      deliver(slices, outputs)
    } catch (error) {
      // one sample that the model cannot take, or dies of, must not spoil its neighbours: each again on its own
      if (error instanceof RequestError && slices.length > 1) return this.#runEach(slices)
      if (!(error instanceof WorkerDied)) for (const { job } of slices) this.#fail(job, error)
      else await this.#runEach(slices.filter((slice) => this.#mayRetry(slice)))
    }
  }

  async #runEach(slices: Slice[]): Promise<void> {
    for (const slice of slices) if (!slice.job.isFinished) await this.#runSlices([slice])
  }

  #mayRetry({ job }: Slice): boolean {
    if (job.isFinished) return false
    if (job.isRetried) {
      const detail = 'the process that runs the model died twice under this request: try again later'
      this.#fail(job, new RequestError(503, detail, { 'retry-after': '1' }))
      return false
    }
    job.isRetried = true
    return true
  }

  #ran(slices: Slice[], ms: number): void {
    const samples = slices.reduce((sum, { count }) => sum + count, 0)
    for (const { job } of slices) {
      job.trace.inferenceMs = Math.max(job.trace.inferenceMs ?? 0, ms)
      job.trace.batchSize = Math.max(job.trace.batchSize ?? 0, samples)
    }
    this.#rate.done(samples, ms)
    this.#options.onBatch?.(samples, ms)
  }

  #fail(job: Job, error: unknown): void {
    if (this.#queue.includes(job)) {
      this.#queue = this.#queue.filter((other) => other !== job)
      this.#waiting -= job.samples - job.sent
    }
    job.isFinished = true
    job.reject(error)
  }

  /** The slices in one tensor per input, in memory of its own. */
  #gather(slices: Slice[]): AnyTensor[] {
    const { isFixed, maxBatchSize } = this.#options
    const samples = isFixed ? maxBatchSize : slices.reduce((sum, { count }) => sum + count, 0)
    return slices[0].job.inputs.map((_, index) => {
      const parts = slices.map(({ job, from, count }) => slice(job.inputs[index], from, from + count))
      return concatenate(parts, samples)
    })
  }
}

/** Hand each job its part of a batch's outputs; a job that has all of its own is answered. */
function deliver(slices: Slice[], outputs: AnyTensor[]): void {
  let row = 0
  for (const { job, count } of slices) {
    for (const [index, output] of outputs.entries()) job.parts[index].push(slice(output, row, row + count))
    row += count
    job.received += count
    if (job.received < job.samples) continue
    job.isFinished = true
    job.resolve(job.parts.map((parts) => (parts.length === 1 ? parts[0] : concatenate(parts, job.samples))))
  }
}

/** @throws RequestError 413 for more samples than a queue holds */
export function checkSamples(samples: number, maxQueue: number): void {
  if (samples <= maxQueue) return
  const detail = `${samples} samples are more than the ${maxQueue} of MAX_QUEUE: send them in several requests`
  throw new RequestError(413, detail)
}
