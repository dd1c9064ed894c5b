/** Requests that a new process sends to itself, so that its first clients do not wait while V8 compiles the code. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import { encodePng, sampleDims } from '../../preprocess/index.ts'
import { type AppInstance, listen } from '../http/http_server.ts'
import { zeros } from '../inference/tensor.ts'
import type { ModelInfo } from '../model/model_info.ts'

/** Startup takes this much longer, in milliseconds, plus one request of a slow model. */
const REHEARSAL_MS = 140
const TIMEOUT_MS = 10_000

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
  const address = { host: '127.0.0.1', port: 0, isPrivate: true, requestTimeoutMs: TIMEOUT_MS }
  const http = await listen(instance, address)
  const open = () => new Client(http.url, token)
  const [first, second] = [open(), open()]
  const { images, tensors } = uploadsFor(model)
  const alone = [...images, ...tensors].map((upload) => (i: number) => first.send(upload, i))
  // not images: they would start a second thread, which takes longer than everything else here
  const together = tensors.map((upload) => async (i: number) => {
    // a short MAX_QUEUE may refuse one of them
    await Promise.allSettled([first.send(upload, i), second.send(upload, i), open().leave(upload, i)])
  })
  const steps = [...alone, ...together]
  try {
    for (let i = 0; performance.now() < endAt; i++) await steps[i % steps.length](i)
  } finally {
    first.close()
    second.close()
    await http.stop(0)
  }
}

/** One connection. Node's own client shares code with the server, which V8 would then compile for both. */
class Client {
  readonly #token: string
  readonly #socket: Socket

  constructor(url: string, token: string) {
    const { hostname, port } = new URL(url)
    this.#token = token
    this.#socket = connect(Number(port), hostname)
      .setEncoding('latin1')
      .setTimeout(TIMEOUT_MS, () => this.#fail('no response in time'))
      .on('end', () => this.#fail('the connection was closed'))
      .on('error', () => {}) // then `once` rejects
  }

  #fail(reason: string): void {
    this.#socket.destroy(new Error(reason))
  }

  /**
   * @param i another one for each request
   * @throws Error when the response is not 200
   */
  async send(upload: Upload, i: number): Promise<void> {
    this.#write(upload, i)
    let response = ''
    while (!isComplete(response)) {
      const [text] = await once(this.#socket, 'data')
      response += text
    }
    const [status] = response.split('\r\n', 1)
    if (!status.includes(' 200 ')) throw new Error(`${upload.path}: ${status}`)
  }

  /** Disconnect as soon as the server has the request. */
  async leave(upload: Upload, i: number): Promise<void> {
    await once(this.#socket, 'connect')
    this.#write(upload, i)
    await setImmediate()
    this.close()
  }

  #write({ path, contentType, body }: Upload, i: number): void {
    const head = [
      `POST ${path} HTTP/1.1`,
      // clients send other headers in another order: V8 must not compile for those of the first one alone
      `x-rehearsal-${i}: `,
      'host: localhost',
      `content-type: ${contentType}`,
      `content-length: ${body.length}`,
      `authorization: Bearer ${this.#token}`,
    ]
    this.#socket.write(Buffer.concat([Buffer.from(`${head.join('\r\n')}\r\n\r\n`), body]))
  }

  close(): void {
    this.#socket.destroy()
  }
}

/** @param response so far, a character per byte */
function isComplete(response: string): boolean {
  const [head, body] = response.split('\r\n\r\n', 2)
  const length = /^content-length: (\d+)/im.exec(head)?.[1]
  return body !== undefined && body.length >= Number(length)
}

function uploadsFor({ input, recipe }: ModelInfo): { images: Upload[]; tensors: Upload[] } {
  const dims = sampleDims(input, recipe)
  const tensor = Buffer.from(zeros(input.dtype, dims).data.buffer)
  return {
    images: recipe ? [form(PNG), bytes(JPEG), bytes(PNG)] : [],
    tensors: [form(tensor, dims), bytes(tensor, `?dims=${dims}`)],
  }
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
