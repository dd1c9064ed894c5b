/** Requests that a new process sends to itself, so that its first clients do not wait while V8 compiles the code. */
import { once } from 'node:events'
import { Agent, type IncomingMessage, request } from 'node:http'
import { encodePng, sampleDims } from '../../preprocess/index.ts'
import { type AppInstance, listen } from '../http/http_server.ts'
import { zeros } from '../inference/tensor.ts'
import type { ModelInfo } from '../model/model_info.ts'

/** Startup takes this much longer, in milliseconds, plus one request of a slow model. */
const REHEARSAL_MS = 140
const REQUEST_TIMEOUT_MS = 10_000

/** 16 x 16 pixels, as cameras write them: baseline, three components, 4:2:0. */
const JPEG = Buffer.from(
  '/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAgGBgcGBQgHBwcJCQgKDBQNDAsLDBkSEw8UHRofHh0aHBwgJC4nICIsIxwcKDcpLDAxNDQ0Hyc5PTgyPC4z' +
    'NDL/2wBDAQkJCQwLDBgNDRgyIRwhMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjIyMjL/wAARCAAQABADASIAAhEB' +
    'AxEB/8QAFgABAQEAAAAAAAAAAAAAAAAAAAcI/8QAFxAAAwEAAAAAAAAAAAAAAAAAABZjof/EABQBAQAAAAAAAAAAAAAAAAAAAAD/xAAUEQEAAAAAAAAA' +
    'AAAAAAAAAAAA/9oADAMBAAIRAxEAPwCfp08CdPDQCfPAnzwD/9k=',
  'base64',
)
const SIDE = 64
const PNG = encodePng({ width: SIDE, height: SIDE, channels: 3, data: new Uint8Array(SIDE * SIDE * 3) })

interface Upload {
  path: string
  contentType: string
  body: Buffer
}

/**
 * Send requests of each kind that the model answers, in turn, on a port that nobody else knows.
 *
 * @param instance an app whose log and metrics are not read
 * @param token API_TOKEN
 * @throws Error when a request fails
 */
export async function rehearse(instance: AppInstance, model: ModelInfo, token: string): Promise<void> {
  const endAt = performance.now() + REHEARSAL_MS
  const address = { host: '127.0.0.1', port: 0, isPrivate: true, requestTimeoutMs: REQUEST_TIMEOUT_MS }
  const http = await listen(instance, address)
  const agent = new Agent({ keepAlive: true })
  const uploads = uploadsFor(model)
  try {
    for (let i = 0; performance.now() < endAt; i++) await send(uploads[i % uploads.length], i)
  } finally {
    agent.destroy()
    await http.stop(0)
  }

  async function send({ path, contentType, body }: Upload, i: number): Promise<void> {
    const headers = {
      // clients send other headers in another order: V8 must not compile for those of the first one alone
      [`x-rehearsal-${i}`]: '',
      'content-type': contentType,
      'content-length': body.length,
      authorization: `Bearer ${token}`,
    }
    const sent = request(http.url + path, { method: 'POST', headers, agent }).end(body)
    const [response] = (await once(sent, 'response')) as [IncomingMessage]
    await once(response.resume(), 'end')
    if (response.statusCode !== 200) throw new Error(`${path} answered ${response.statusCode}`)
  }
}

function uploadsFor({ input, recipe }: ModelInfo): Upload[] {
  const dims = sampleDims(input, recipe)
  const tensor = Buffer.from(zeros(input.dtype, dims).data.buffer)
  const tensors = [form(tensor, dims), bytes(tensor, `?dims=${dims}`)]
  return recipe ? [form(PNG), bytes(JPEG), ...tensors, bytes(PNG)] : tensors
}

function bytes(body: Uint8Array, query = ''): Upload {
  return {
    path: `/predict${query}`,
    contentType: 'application/octet-stream',
    body: Buffer.from(body),
  }
}

function form(file: Uint8Array, dims?: number[]): Upload {
  const part = (disposition: string) => `--part\r\nContent-Disposition: form-data; ${disposition}\r\n\r\n`
  const head = dims ? `${part('name="metadata"')}{"dims":[${dims}]}\r\n` : ''
  const start = `${head}${part('name="data"; filename="data"')}`
  const body = Buffer.concat([Buffer.from(start), file, Buffer.from('\r\n--part--\r\n')])
  return { path: '/predict', contentType: 'multipart/form-data; boundary=part', body }
}
