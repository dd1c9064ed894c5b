/** The ceiling of /predict: the same HTTP server, Express, log, metrics, multer and storage engine, but the answer is a constant. */
import express from 'express'
import { listen } from '../lib/http/http_server.ts'
import { createMetrics } from '../lib/http/metrics.ts'
import { observe } from '../lib/http/request_log.ts'
import { createFormReader } from '../lib/input/multipart.ts'
import { createLog } from '../lib/process/log.ts'
import { readSettings } from '../lib/process/settings.ts'

const ANSWER = {
  label: '2',
  score: 0.9,
  predictions: Array.from({ length: 5 }, (_, i) => ({ label: `${i}`, score: 0.123456789 * i })),
}

const app = express().disable('x-powered-by').disable('etag')
app.use(observe(await createLog('info'), createMetrics(), readSettings({})))
const readForm = createFormReader(20 * 2 ** 20)
app.post('/predict', async (req, res) => {
  await readForm(req, res)
  res.json(ANSWER)
})
process.once('SIGINT', () => process.exit(0))
const { url } = await listen({ express: app, listener: app }, readSettings({ PORT: '0' }))
console.log(`serving a constant at ${url}" `)
