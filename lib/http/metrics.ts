/** The metrics of `/metrics`, in Prometheus text format. */
import {
  Counter,
  collectDefaultMetrics,
  Gauge,
  type GaugeConfiguration,
  Histogram,
  Registry,
} from 'prom-client'
import { droppedLines } from '../log/log.ts'
import type { ModelInfo } from '../model/model_info.ts'

// from a millisecond to half a minute
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
const SAMPLES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]

/** Reasons for a response without a prediction, by its status. */
const REASONS: Record<number, string> = {
  400: 'invalid',
  401: 'token',
  403: 'origin',
  408: 'slow_sender',
  413: 'too_large',
  415: 'invalid',
  421: 'host',
  422: 'invalid',
  499: 'client_gone',
  500: 'fault',
  503: 'busy',
  504: 'timeout',
}

/**
 * Of prom-client's default metrics: gauges whose names end like a counter's, which promtool rejects, and percentiles whose
 * timer wakes an idle process a hundred times a second; `nodejs_eventloop_utilization` is free.
 */
const UNWANTED = [
  ...['handles', 'requests', 'resources'].map((name) => `nodejs_active_${name}_total`),
  ...['min', 'max', 'mean', 'stddev', 'p50', 'p90', 'p99'].map(
    (name) => `nodejs_eventloop_lag_${name}_seconds`,
  ),
]
const NEVER_MS = 2 ** 31 - 1

/** Methods that are counted by name; clients can invent any number of others. */
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'OPTIONS']

export class Metrics {
  readonly registry = new Registry()
  readonly inFlight = this.#gauge('onnxpress_requests_in_flight', 'Open requests.')
  readonly bytesInFlight = this.#gauge(
    'onnxpress_bytes_in_flight',
    'Bytes of the bodies of open requests, and of the tensors made from them.',
  )
  readonly queueWait = this.#histogram(
    'onnxpress_queue_wait_seconds',
    'Time that a request waits for its first batch.',
    SECONDS,
  )
  readonly batchSize = this.#histogram('onnxpress_batch_size', 'Samples in a batch.', SAMPLES)
  readonly inference = this.#histogram(
    'onnxpress_inference_duration_seconds',
    'Duration of a batch.',
    SECONDS,
  )
  readonly preprocess = this.#histogram(
    'onnxpress_preprocess_duration_seconds',
    'Time to preprocess an image, without the wait for a worker.',
    SECONDS,
  )
  readonly workerRestarts = this.#counter(
    'onnxpress_worker_restarts_total',
    'Inference workers that died and were replaced.',
  )
  readonly #requests = this.#counter(
    'onnxpress_requests_total',
    'Responses sent, and requests whose client disconnected (status 499).',
    ['route', 'method', 'status'],
  )
  readonly #duration = this.#histogram(
    'onnxpress_request_duration_seconds',
    'From the head of a request to the end of its response.',
    SECONDS,
    ['route', 'method'],
  )
  readonly #rejected = this.#counter(
    'onnxpress_rejected_total',
    'Requests without a prediction, by reason.',
    ['reason'],
  )
  readonly #modelInfo = this.#gauge('onnxpress_model_info', 'The model that is served; always 1.', {
    labelNames: ['name', 'version', 'sha256', 'device'],
    aggregator: 'first',
  })
  readonly #checkCases = this.#gauge(
    'onnxpress_check_cases',
    'Cases of check.json by result, once they are compared.',
    { labelNames: ['result'], aggregator: 'max' },
  )
  #waiting = () => 0
  #isReady = () => false

  constructor() {
    // start at 0: a rate misses the first event of a series that begins with it
    for (const reason of Object.values(REASONS)) this.#rejected.inc({ reason }, 0)
    const waiting = () => this.#waiting()
    this.#gauge('onnxpress_queue_samples', 'Samples waiting for preprocessing or for a batch.', {
      collect() {
        this.set(waiting())
      },
    })
    const isReady = () => this.#isReady()
    this.#gauge('onnxpress_ready', 'Whether /readyz returns 200.', {
      aggregator: 'min',
      collect() {
        this.set(isReady() ? 1 : 0)
      },
    })
    new Counter({
      name: 'onnxpress_log_lines_dropped_total',
      help: 'Log lines lost because standard output could not be written.',
      registers: [this.registry],
      collect() {
        this.reset()
        this.inc(droppedLines())
      },
    })
  }

  #gauge(name: string, help: string, more: Partial<GaugeConfiguration<string>> = {}) {
    return new Gauge({ name, help, registers: [this.registry], ...more })
  }

  #counter(name: string, help: string, labelNames: string[] = []) {
    return new Counter({ name, help, labelNames, registers: [this.registry] })
  }

  #histogram(name: string, help: string, buckets: number[], labelNames: string[] = []) {
    return new Histogram({ name, help, buckets, labelNames, registers: [this.registry] })
  }

  /** Report the process too: memory, processor time, event loop, garbage collection. */
  addProcess(): this {
    collectDefaultMetrics({ register: this.registry, eventLoopMonitoringPrecision: NEVER_MS })
    for (const name of UNWANTED) this.registry.removeSingleMetric(name)
    let last = performance.eventLoopUtilization()
    const help = 'Share of the time since the previous scrape in which the event loop was busy, 0 to 1.'
    this.#gauge('nodejs_eventloop_utilization', help, {
      aggregator: 'average',
      collect() {
        const now = performance.eventLoopUtilization()
        this.set(performance.eventLoopUtilization(now, last).utilization)
        last = now
      },
    })
    return this
  }

  /**
   * Count a request when it is over.
   *
   * @param ms its duration; undefined for a request refused at once, which is not among the durations
   */
  countRequest(route: string, method: string, status: number, ms?: number): void {
    const counted = METHODS.includes(method) ? method : 'other'
    this.#requests.inc({ route, method: counted, status })
    if (ms !== undefined) this.#duration.observe({ route, method: counted }, ms / 1000)
  }

  /** Count a request that got no prediction, by the reason that its status tells. */
  countRejected(status: number): void {
    if (REASONS[status]) this.#rejected.inc({ reason: REASONS[status] })
  }

  /** Report the comparison with check.json. */
  setCheck(cases: number, differing: number): void {
    this.#checkCases.set({ result: 'equal' }, cases - differing)
    this.#checkCases.set({ result: 'different' }, differing)
  }

  /**
   * Report this model from now on, instead of the previous one.
   *
   * @param waiting samples in all queues
   */
  setModel(
    model: ModelInfo & { sha256: Promise<string> },
    waiting: () => number,
    isReady: () => boolean,
  ): void {
    this.#waiting = waiting
    this.#isReady = isReady
    this.#checkCases.reset()
    const { name, version, device } = model
    void model.sha256.then((sha256) => {
      if (isReady !== this.#isReady) return // replaced meanwhile
      this.#modelInfo.reset()
      this.#modelInfo.set({ name, version, device, sha256 }, 1)
    })
  }
}
