// The lower bound: node:http and onnxruntime-node, a tensor's bytes as the body, one at a time, no checks.
import { createServer } from 'node:http'
import { join } from 'node:path'

process.env.ORT_DISABLE_TELEMETRY = '1'
const { InferenceSession, Tensor } = (await import('onnxruntime-node')).default

const session = await InferenceSession.create(join(process.env.MODEL, 'model.onnx'))
const dims = process.env.DIMS.split(',').map(Number)

createServer((req, res) => {
  const chunks = []
  req.on('data', (chunk) => chunks.push(chunk))
  req.on('end', async () => {
    const { buffer } = Uint8Array.from(Buffer.concat(chunks))
    const { logits } = await session.run({
      pixel_values: new Tensor('float32', new Float32Array(buffer), [1, ...dims]),
    })
    const best = Math.max(...logits.data)
    const sum = logits.data.reduce((total, logit) => total + Math.exp(logit - best), 0)
    const body = JSON.stringify({ label: String(logits.data.indexOf(best)), score: 1 / sum })
    res.writeHead(200, { 'content-type': 'application/json' }).end(body)
  })
}).listen(process.env.PORT, '127.0.0.1')
