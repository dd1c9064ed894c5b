/** The response of /preprocess. */

import { RequestError } from '../inference/errors.ts'
import { type Tensor, toBytes } from '../inference/tensor.ts'
import type { RequestContext } from './context.ts'

/**
 * Send the tensors of images as one, little-endian, with dims and dtype in the headers.
 *
 * @param tensors each [1, channels, height, width]
 * @throws RequestError 400 when their sizes differ
 */
export function sendTensors(tensors: Tensor[], { res }: RequestContext): void {
  const [{ dtype, dims }] = tensors
  if (tensors.some((tensor) => tensor.dims.join() !== dims.join())) {
    throw new RequestError(400, 'the images become tensors of different sizes: send them one by one')
  }
  res.set({ 'x-dims': [tensors.length, ...dims.slice(1)].join(','), 'x-dtype': dtype })
  res.type('application/octet-stream').send(Buffer.concat(tensors.map(({ data }) => toBytes(data))))
}
