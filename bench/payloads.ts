/** What most measurements send to the bundled model: a digit as a tensor, its sample, and noise as a photo. */
import { readFileSync } from 'node:fs'
import sharp, { type Sharp } from 'sharp'
import { ROOT } from '../test/running_server.ts'
import { multipart, type Payload } from './load.ts'

const digit = Buffer.from(new Float32Array(784).fill(0.5).buffer)

export const TENSOR_FORM: Payload = multipart('/predict', { metadata: '{"dims":[1,28,28]}', data: digit })
export const TENSOR_BYTES: Payload = { path: '/predict?dims=1,28,28', body: digit }
export const PNG: Payload = { path: '/predict', body: readFileSync(`${ROOT}/models/mnist/sample.png`) }

/** Noise, which becomes a file at least as large as a photo's. */
export function noiseImage(width: number, height: number): Sharp {
  const noise = { type: 'gaussian', mean: 128, sigma: 40 } as const
  return sharp({ create: { width, height, channels: 3, background: '#567', noise } })
}
