/** The ceiling of /predict: the same HTTP server, Express, admission, log, metrics and multer; a constant response. */
import express from 'express'
import { Admission } from '../lib/http/admission.ts'
import { listen } from '../lib/http/http_server.ts'
import { Metrics } from '../lib/http/metrics.ts'
import { requestLog } from '../lib/http/request_log.ts'
import { createFormReader } from '../lib/input/multipart.ts'
import { createLog } from '../lib/log/log.ts'

const RESPONSE = {
  label: '2',
  score: 0.9,
  predictions: Array.from({ length: 5 }, (_, i) => ({ label: `${i}`, score: 0.123456789 * i })),
}
const MAX_BYTES = 20 * 2 ** 20

const metrics = new Metrics().addProcess()
const admission = new Admission({
  queues: [],
  batchSize: 32,
  maxQueue: 1000,
  maxBodyBytes: MAX_BYTES,
  metrics,
})
const app = express().disable('x-powered-by').disable('etag')
app.use(requestLog(await createLog('info'), metrics, 30_000, []))
const readForm = createFormReader(MAX_BYTES)
app.post('/predict', (req, res) =>
  admission.run(req.context, async (ctx) => {
    await readForm(ctx)
    res.json(RESPONSE)
  }),
)
process.once('SIGINT', () => process.exit(0))
const options = { host: '127.0.0.1', port: 0, requestTimeoutMs: 30_000 }
const { url } = await listen({ express: app, listener: app }, options)
console.log(`serving a constant at ${url}" `) // parsed by startServer like a line of the log
