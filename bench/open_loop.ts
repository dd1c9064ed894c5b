/** Load that does not wait for answers: so many requests a second, as many clients that know nothing of each other. */
import { Agent, request } from 'node:http'
import { setTimeout } from 'node:timers/promises'
import type { Payload } from './load.ts'

/** What became of a request: its status, 0 where there was none, and the time to the end of its answer. */
export interface Outcome {
  status: number
  ms: number
}

const agent = new Agent({ keepAlive: true, maxFreeSockets: 512 })

export function send(url: string, { path, contentType, headers: more, body }: Payload): Promise<Outcome> {
  const begun = performance.now()
  const headers = {
    'content-type': contentType ?? 'application/octet-stream',
    'content-length': body.length,
    ...more,
  }
  return new Promise((resolve) => {
    const end = (status: number) => resolve({ status, ms: performance.now() - begun })
    const req = request(url + path, { method: 'POST', agent, headers }, (res) => {
      res.resume().once('end', () => end(res.statusCode ?? 0))
    })
    req.once('error', () => end(0)).end(body)
  })
}

/** As many requests at once as there are clients, each client one after the other. */
export async function closedLoop(
  url: string,
  payload: Payload,
  clients: number,
  seconds: number,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = []
  const end = performance.now() + seconds * 1000
  const client = async () => {
    while (performance.now() < end) outcomes.push(await send(url, payload))
  }
  await Promise.all(Array.from({ length: clients }, client))
  return outcomes
}

export async function openLoop(
  url: string,
  payload: Payload,
  perSecond: number,
  seconds: number,
): Promise<Outcome[]> {
  const begun = performance.now()
  const sent: Promise<Outcome>[] = []
  for (;;) {
    const now = performance.now() - begun
    if (now > seconds * 1000) break
    while (sent.length < (now / 1000) * perSecond) sent.push(send(url, payload))
    await setTimeout(2)
  }
  return Promise.all(sent)
}

/** The value under which the share `p` of the values lies, 0 to 1. */
export function percentile(values: number[], p: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(p * sorted.length))] ?? Number.NaN
}
