/** The ceiling of /predict: the same Express, log, metrics, multer and storage engine, but the answer is a constant. */
import express from 'express'
import { readSettings } from '../lib/config.ts'
import { createLog } from '../lib/log.ts'
import { createMetrics } from '../lib/metrics.ts'
import { createFormReader } from '../lib/multipart.ts'
import { observe } from '../lib/observe.ts'

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
const server = app.listen(0, '127.0.0.1', () => {
  const { port } = server.address() as { port: number }
  console.log(`serving a constant at http://127.0.0.1:${port}" `)
})
