/** Asks the server for predictions, one input at a time. A newer choice replaces the waiting inputs. */
import { HttpError, request, timesOf, Unreachable, untilReady, wait } from './server.mjs'

/**
 * @typedef {object} Input one input to predict
 * @property {string} [name] of the image file
 * @property {() => Promise<Blob>} [read] reads the image when its turn comes
 * @property {Blob} [image] the image, once it has been read
 * @property {boolean} [isLive] of a drawing or a camera: a newer one makes it stale
 * @property {boolean} [isMade] by this page: the visitor has no such file
 * @property {number[]} [numbers] for a model that takes no image
 * @property {object} [result] the response
 * @property {[string, number][]} [times] milliseconds
 * @property {Blob} [seen] the preprocessed image, a PNG
 * @property {string} [error]
 */

/** retries for a server that is up, but breaks the connection */
const MAX_BREAKS = 3

/**
 * @param {object} page
 * @param {() => number} page.maxBytes of an image
 * @param {(isBusy: boolean) => void} page.onBusy
 * @param {(text: string) => void} page.onWait called with what it waits for
 * @param {() => Promise<void>} page.onReconnect awaited before the request is repeated
 * @param {(input: Input) => void} page.onDone called with a result or an error
 * @param {(input: Input) => void} page.onSeen called with the preprocessed image
 * @param {(error: HttpError) => void} page.onUnauthorized called when a token is required; `resume` goes on
 */
export function createPredictor(page) {
  /** @type {Input[]} the waiting inputs */
  let queue = []
  /** @type {Input | undefined} */
  let current
  let stop = new AbortController()

  async function work() {
    for (;;) {
      current = queue.shift()
      page.onBusy(current !== undefined)
      if (!current) return
      stop = new AbortController()
      try {
        await predict(current, stop.signal)
      } catch (error) {
        if (error instanceof HttpError && error.status === 401) {
          queue.unshift(current)
          current = undefined
          return page.onUnauthorized(error)
        }
        if (error.name !== 'AbortError') {
          current.error = error.message
          page.onDone(current)
        }
      }
    }
  }

  /** @param {Input} input @param {AbortSignal} signal */
  async function predict(input, signal) {
    const isStale = () => signal.aborted || (input.isLive && queue.length > 0)
    if (input.read) input.image = await input.read()
    const maxBytes = page.maxBytes()
    if (input.image?.size > maxBytes) {
      throw new Error(
        `${input.name} is ${megabytes(input.image.size)}; the limit is ${megabytes(maxBytes)}: send a smaller one`,
      )
    }
    await input.image?.slice(0, 1).arrayBuffer() // fails for a folder
    const init = requestOf(input)
    const begun = performance.now()
    const response = await sendPatiently('predict', { ...init, signal })
    input.result = await response.json()
    input.times = timesOf(response, performance.now() - begun)
    if (isStale()) return
    page.onDone(input)
    if (!input.image) return
    const headers = { accept: 'image/png' }
    const picture = await sendPatiently('preprocess', { ...init, headers, signal }).catch((error) => {
      if (error.name === 'AbortError' || error.status === 401) throw error
    })
    if (!picture) return // the prediction stands without it
    input.seen = await picture.blob()
    if (!isStale()) page.onSeen(input)
  }

  /** Retry when the server was busy or unreachable. */
  async function sendPatiently(path, options) {
    for (let breaks = 0; ; ) {
      try {
        return await request(path, options)
      } catch (error) {
        if (error instanceof Unreachable && breaks < MAX_BREAKS) {
          breaks++
          page.onWait('The server is not responding. Retrying')
          await untilReady(options.signal)
          await page.onReconnect()
        } else if (error instanceof HttpError && error.status === 503) {
          const seconds = error.retryAfter || 1
          page.onWait(`${error.message} (retrying in ${seconds} s)`)
          await wait(seconds * 1000, options.signal)
          page.onWait('')
        } else throw error
      }
    }
  }

  return {
    /** Predict these, instead of any chosen before. @param {Input[]} inputs */
    choose(...inputs) {
      queue = inputs
      // let the current drawing finish: the next one grows out of it
      if (!current) work()
      else if (!(current.isLive && inputs[0]?.isLive)) stop.abort()
    },
    resume() {
      if (!current) work()
    },
  }
}

/** @param {Input} input @returns {RequestInit} */
function requestOf({ image, name, numbers }) {
  if (!image) return { method: 'POST', ...numbersBody(numbers) }
  const body = new FormData()
  body.append('image', image, name)
  return { method: 'POST', body }
}

/** @param {number[]} numbers */
export function numbersBody(numbers) {
  if (numbers.length === 1) return { body: new URLSearchParams({ value: numbers[0] }) }
  const body = JSON.stringify({ data: numbers, dims: [numbers.length] })
  return { body, headers: { 'content-type': 'application/json' } }
}

/** @param {number} bytes */
export function megabytes(bytes) {
  return `${Math.round((bytes / 2 ** 20) * 10) / 10} MB`
}
