/** The page's requests to the server, and their errors. */

const TOKEN = 'onnxpress token'

/** An error response, with its problem details. */
export class HttpError extends Error {
  /**
   * @param {number} status
   * @param {string} detail
   * @param {number} retryAfter seconds; 0 if not given
   */
  constructor(status, detail, retryAfter) {
    super(detail)
    this.status = status
    this.retryAfter = retryAfter
  }
}

/** The server did not answer. */
export class Unreachable extends Error {}

/** Kept while the tab is open. */
export function useToken(token) {
  sessionStorage.setItem(TOKEN, token)
}

export function hasToken() {
  return sessionStorage.getItem(TOKEN) !== null
}

/**
 * @param {string} path relative to the page
 * @param {RequestInit} options
 * @returns {Promise<Response>} with a status below 300
 * @throws {HttpError | Unreachable | DOMException} the last when `options.signal` is aborted
 */
export async function request(path, options = {}) {
  const token = sessionStorage.getItem(TOKEN)
  const headers = { ...options.headers, ...(token && { authorization: `Bearer ${token}` }) }
  const response = await fetch(path, { ...options, headers }).catch((error) => {
    if (error.name === 'AbortError') throw error
    throw new Unreachable('the server is not responding')
  })
  if (response.ok) return response
  const { detail } = await response.json().catch(() => ({}))
  options.signal?.throwIfAborted()
  const retryAfter = Number(response.headers.get('retry-after')) || 0
  throw new HttpError(
    response.status,
    detail ?? `the server responded with ${response.status} ${response.statusText}`,
    retryAfter,
  )
}

/** @param {number} ms @param {AbortSignal} [signal] */
export function wait(ms, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms)
    const end = () => {
      clearTimeout(timer)
      reject(signal.reason)
    }
    if (signal?.aborted) end()
    else signal?.addEventListener('abort', end)
  })
}

/** Resolves when the server is ready again; polls once per second. @param {AbortSignal} [signal] */
export async function untilReady(signal) {
  for (;;) {
    const isReady = await fetch('readyz', { signal: AbortSignal.timeout(5000) }).then(
      ({ ok }) => ok,
      () => false,
    )
    if (isReady) return
    await wait(1000, signal)
  }
}

/**
 * The times of a request, in milliseconds: the rest of the total first, then the steps that the server measured.
 *
 * @param {Response} response @param {number} total
 * @returns {[string, number][]}
 */
export function timesOf(response, total) {
  const measured = [...(response.headers.get('server-timing') ?? '').matchAll(/(\w+);dur=([\d.]+)/g)]
  const parts = measured.map(([, name, ms]) => [name, Number(ms)])
  const transfer = parts.reduce((left, [, ms]) => left - ms, total)
  return [['transfer', Math.max(0, transfer)], ...parts]
}
