/** The attacks of bench/attack.ts: the requests that each attacker repeats, and whether 200 is a legal response. */
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout } from 'node:timers/promises'
import sharp from 'sharp'
import { blackPng, type PngShape, scansJpeg } from './crafted_images.ts'
import { multipart, type Payload } from './load.ts'

/** The destination of the server's log: discarded, a full disk, or a pipe without a reader. */
export type LogTarget = 'discarded' | 'full' | 'unread'

/** The server as an attacker sees it. */
export interface Target {
  url: string
  isOver(): boolean
  /** Send a request and count its outcome. */
  ask(payload: Payload): Promise<void>
}

export interface Attack {
  name: string
  log?: LogTarget
  /** whether 200 is a legal response; 4xx and 503 always are */
  mayBe200?: boolean
  /** Build the payloads once. @returns one attacker, which runs until the end */
  prepare(): Promise<(target: Target) => Promise<void>>
}

/** Attackers that send these bodies in turn, each after the response to the previous one. */
function bodies(name: string, mayBe200: boolean, build: () => Promise<Payload[]> | Payload[]): Attack {
  return {
    name,
    mayBe200,
    async prepare() {
      const payloads = await build()
      return async (target) => {
        for (let i = 0; !target.isOver(); i++) await target.ask(payloads[i % payloads.length])
      }
    },
  }
}

/** Attackers that open raw connections, in rounds. */
function connections(name: string, round: (target: Target) => Promise<void>): Attack {
  return {
    name,
    prepare: async () => async (target) => {
      while (!target.isOver()) await round(target)
    },
  }
}

const image = (body: Buffer): Payload => ({ path: '/predict', body })
const json = (text: string): Payload => ({
  path: '/predict',
  contentType: 'application/json',
  body: Buffer.from(text),
})

/** Side of a square just under MAX_PIXELS, 50 million. */
const SIDE = 7071

function blank(side: number) {
  const create = { width: side, height: side, channels: 3, background: '#567' } as const
  return sharp({ create, limitInputPixels: false })
}

const PNGS: [name: string, shape: PngShape][] = [
  ['50,000,000 x 1 grey', { width: 50_000_000, height: 1, colourType: 0, bitDepth: 8 }],
  ['1 x 9,000,000 grey', { width: 1, height: 9_000_000, colourType: 0, bitDepth: 8 }],
  ['65535 x 762 grey', { width: 65_535, height: 762, colourType: 0, bitDepth: 8 }],
  ['65535 x 762 RGB', { width: 65_535, height: 762, colourType: 2, bitDepth: 8 }],
  ['65535 x 762 RGBA', { width: 65_535, height: 762, colourType: 6, bitDepth: 8 }],
  ['65535 x 762 RGBA16', { width: 65_535, height: 762, colourType: 6, bitDepth: 16 }],
]

// ------------------------------------------------------------------------------------------- raw connections

function open({ url }: Target): Socket {
  const { hostname, port } = new URL(url)
  return connect(Number(port), hostname).on('error', () => {}) // is followed by 'close'
}

async function openAll(target: Target, count: number): Promise<Socket[]> {
  const sockets = Array.from({ length: count }, () => open(target))
  const opened = (socket: Socket) => once(socket, 'connect').catch(() => {}) // refused: the server is ending
  await Promise.all(sockets.map(opened))
  return sockets
}

async function waitOrEnd(target: Target, ms: number): Promise<void> {
  const end = performance.now() + ms
  while (!target.isOver() && performance.now() < end) await setTimeout(50)
}

const STATIC_FILES = ['/', '/page.mjs', '/docs/swagger-ui.css', '/docs/swagger-ui-bundle.js', '/model/sample']

/** 50 connections with 40 GETs each, whose responses are never read. */
async function pipelineUnread(target: Target): Promise<void> {
  const sockets = await openAll(target, 50)
  for (const [index, socket] of sockets.entries()) {
    socket.pause()
    const path = STATIC_FILES[index % STATIC_FILES.length]
    socket.write(`GET ${path} HTTP/1.1\r\nHost: localhost\r\n\r\n`.repeat(40))
  }
  await waitOrEnd(target, 500)
  for (const socket of sockets) socket.destroy()
}

const HALF_A_HEAD = 'POST /predict HTTP/1.1\r\nHost: localhost\r\nX-Padding: '
const HEAD = 'POST /predict?dims=1,28,28 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3136\r\n\r\n'

/** 100 connections that are silent, stop within the header, or send header or body one byte at a time. */
async function sendSlowly(target: Target): Promise<void> {
  const sockets = await openAll(target, 100)
  for (const [index, socket] of sockets.entries()) {
    if (index % 4 === 1 || index % 4 === 2) socket.write(HALF_A_HEAD)
    if (index % 4 === 3) socket.write(HEAD)
  }
  for (let second = 0; second < 10 && !target.isOver(); second++) {
    for (const [index, socket] of sockets.entries())
      if (index % 4 >= 2 && !socket.destroyed) socket.write('a')
    await waitOrEnd(target, 1000)
  }
  for (const socket of sockets) socket.destroy()
}

// ---------------------------------------------------------------------------------------------------- the log

/** Each of these requests writes a log line of 8 kB. */
const LOGGED: Payload = { path: `/nothing/${'x'.repeat(8000)}`, body: Buffer.alloc(0) }

function fillLog(name: string, log: LogTarget): Attack {
  return { ...bodies(name, false, () => [LOGGED]), log }
}

// ------------------------------------------------------------------------------------------------------ forms

/** A form of `count` tiny parts. */
function manyParts(count: number, isFile: boolean): Payload {
  const file = isFile ? '; filename="a.png"' : ''
  const part = `--b\r\nContent-Disposition: form-data; name="a"${file}\r\n\r\nx\r\n`
  const contentType = 'multipart/form-data; boundary=b'
  return { path: '/predict', contentType, body: Buffer.from(`${part.repeat(count)}--b--\r\n`) }
}

// --------------------------------------------------------------------------------------------------- the table

const nested = (depth: number) => `{"data":${'['.repeat(depth)}0${']'.repeat(depth)},"dims":[1,28,28]}`

export const ATTACKS: Attack[] = [
  { name: 'none (for comparison)', prepare: async () => async () => {} },
  bodies('JPEG of 1,000 scans', true, () => [image(scansJpeg(7000, 7000, 1000))]),
  bodies('JPEG of 20,000 scans', true, () => [image(scansJpeg(7000, 7000, 20_000))]),
  ...PNGS.map(([name, shape]) => bodies(`PNG ${name}`, true, async () => [image(await blackPng(shape))])),
  bodies('4 WebP of 49 megapixels', true, async () => {
    const file = await blank(7000).webp({ lossless: true }).toBuffer()
    return [multipart('/predict', { a: file, b: file, c: file, d: file })]
  }),
  bodies('CMYK JPEG of 50 megapixels', true, async () => [
    image(await blank(SIDE).toColourspace('cmyk').jpeg().toBuffer()),
  ]),
  bodies('TIFF of 50 megapixels', true, async () => [
    image(await blank(SIDE).tiff({ compression: 'deflate' }).toBuffer()),
  ]),
  bodies('AVIF of 50 megapixels', true, async () => [
    image(await blank(SIDE).avif({ effort: 0 }).toBuffer()),
  ]),
  ...[100_000, 300_000, 1_000_000].map((count) =>
    bodies(`JSON of ${count.toLocaleString('en')} images`, false, () => [
      json(`{"instances":[${Array(count).fill('{"b64":"AA"}').join()}]}`),
    ]),
  ),
  bodies('JSON lists, nested deep', false, () => [json(nested(1000)), json(nested(5_000_000))]),
  bodies('JSON lists, nested wide', false, () => [
    json(`{"data":[${Array(3_000_000).fill('[]').join()}],"dims":[1,28,28]}`),
    json(`{"data":[${Array(3_000_000).fill('[0]').join()}],"dims":[1,28,28]}`),
    json(`{"instances":[${Array(3_000_000).fill('[0]').join()}]}`),
  ]),
  fillLog('log on a full disk', 'full'),
  fillLog('log into an unread pipe', 'unread'),
  connections('pipelined files, unread', pipelineUnread),
  connections('slow and silent senders', sendSlowly),
  bodies('forms of 200,000 parts', false, () => [manyParts(200_000, false), manyParts(200_000, true)]),
]
