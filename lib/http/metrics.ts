/** What the operator sees at /metrics, in Prometheus' text format. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { ModelDescription } from '../inference/description.ts'
import { metricsOf } from '../process/cluster.ts'
import { droppedLines } from '../process/log.ts'

// milliseconds to half a minute
const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]
const SAMPLES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]

/** Why there was no prediction, by the status of the answer. */
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

/** Those that routes are for, to count them by; of others there are many. */
const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'OPTIONS']

export type Metrics = ReturnType<typeof createMetrics>

export function createMetrics() {
  let waiting = () => 0
  let isReady = () => false
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })

  const histogram = (name: string, help: string, buckets: number[], labelNames: string[] = []) =>
    new Histogram({ name, help, buckets, labelNames, registers })
  const modelInfo = new Gauge({
    name: 'onnxpress_model_info',
    help: 'The model that is served; always 1.',
    labelNames: ['name', 'version', 'sha256', 'device'],
    aggregator: 'first',
    registers,
  })
  new Gauge({
    name: 'onnxpress_queue_samples',
    help: 'Samples that wait, for preprocessing or for a batch.',
    registers,
    collect() {
      this.set(waiting())
    },
  })
  new Gauge({
    name: 'onnxpress_ready',
    help: 'Whether /readyz says yes.',
    aggregator: 'min',
    registers,
    collect() {
      this.set(isReady() ? 1 : 0)
    },
  })

  new Counter({
    name: 'onnxpress_log_lines_dropped_total',
    help: 'Log lines lost because standard output could not be written.',
    registers,
    collect() {
      this.reset()
      this.inc(droppedLines())
    },
  })

  const requests = new Counter({
    name: 'onnxpress_requests_total',
    help: 'Requests answered, or given up by their client (status 499).',
    labelNames: ['route', 'method', 'status'],
    registers,
  })
  const duration = histogram(
    'onnxpress_request_duration_seconds',
    'From the head of a request to the end of its answer.',
    SECONDS,
    ['route', 'method'],
  )
  const rejected = new Counter({
    name: 'onnxpress_rejected_total',
    help: 'Requests that got no prediction, by reason.',
    labelNames: ['reason'],
    registers,
  })
  // from 0: a series that begins with its first event does not show it in rates
  for (const reason of Object.values(REASONS)) rejected.inc({ reason }, 0)

  return {
    /** in Prometheus' text format, of all processes together */
    read: metricsOf(registry),
    inFlight: new Gauge({
      name: 'onnxpress_requests_in_flight',
      help: 'Requests that are being answered.',
      registers,
    }),
    bytesInFlight: new Gauge({
      name: 'onnxpress_bytes_in_flight',
      help: 'Bytes of the bodies of requests that are being answered.',
      registers,
    }),
    queueWait: histogram('onnxpress_queue_wait_seconds', 'How long a sample waited for its batch.', SECONDS),
    batchSize: histogram('onnxpress_batch_size', 'Samples in a batch.', SAMPLES),
    inference: histogram('onnxpress_inference_duration_seconds', 'Runs of a batch.', SECONDS),
    preprocess: histogram(
      'onnxpress_preprocess_duration_seconds',
      'Preprocessing of an image, without its wait for a thread.',
      SECONDS,
    ),
    workerRestarts: new Counter({
      name: 'onnxpress_worker_restarts_total',
      help: 'Inference workers that died and were started again.',
      registers,
    }),
    /**
     * Count a request that is over.
     *
     * @param ms that it took; a request that was refused at once is not among the durations
     */
    answered(route: string, method: string, status: number, ms?: number) {
      const counted = METHODS.includes(method) ? method : 'other'
      requests.inc({ route, method: counted, status })
      if (ms !== undefined) duration.observe({ route, method: counted }, ms / 1000)
      if (REASONS[status]) rejected.inc({ reason: REASONS[status] })
    },
    /**
     * Tell of this model, and no longer of the one before it.
     *
     * @param samples that wait, for a thread or for a batch
     */
    watch(
      model: ModelDescription & { sha256: Promise<string> },
      samples: () => number,
      ready: () => boolean,
    ) {
      waiting = samples
      isReady = ready
      const { name, version, device } = model
      void model.sha256.then((sha256) => {
        if (ready !== isReady) return // another has come since
        modelInfo.reset()
        modelInfo.set({ name, version, device, sha256 }, 1)
      })
    },
  }
}
