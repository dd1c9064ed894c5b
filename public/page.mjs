/** The page: takes a drawing, images or numbers, sends them one after the other, and shows the results. */
import { createDrawing } from './drawing.mjs'
import { ask, hasToken, Refusal, timesOf, Unreachable, untilReady, useToken, wait } from './server.mjs'

/**
 * @typedef {object} Input one input to predict
 * @property {string} [name] of the image file
 * @property {() => Promise<Blob>} [read] reads the image when its turn comes
 * @property {Blob} [image] the image, once it has been read
 * @property {boolean} [isDrawing] a newer one makes it stale
 * @property {number[]} [numbers] for a model that takes no image
 * @property {HTMLElement} [item] in the list of several images
 * @property {object} [result] the response
 * @property {[string, number][]} [times] milliseconds
 * @property {Blob} [seen] the preprocessed image, a PNG
 * @property {string} [error]
 */

/** most files at once */
const MAX_FILES = 100
/** pause between two requests while drawing, milliseconds */
const DRAW_MS = 100
/** after this time without a response, say that it is coming, milliseconds */
const SLOW_MS = 300
/** retries for a server that is up, but breaks the connection */
const MAX_BREAKS = 3

const $ = (id) => document.getElementById(id)
/** the response of GET /model */
let model
/** @type {Input[]} the inputs that wait */
let queue = []
/** @type {Input | undefined} the input that is being predicted; never more than one */
let current
let stop = new AbortController()
/** @type {File[]} given before the model was known */
let early = []
/** timer: say that it takes a while */
let working
/** timer: send the drawing */
let timer

const drawing = createDrawing($('canvas'), {
  onDraw: () => drawn(DRAW_MS),
  onChange: () => drawn(0),
})

// ---- requests

/** Predict these, instead of any chosen before. */
function choose(...inputs) {
  queue = inputs
  showBusy()
  // let the current drawing finish: the next one grows out of it
  if (!current) work()
  else if (!(current.isDrawing && inputs[0]?.isDrawing)) stop.abort()
}

async function work() {
  for (;;) {
    current = queue.shift()
    showBusy()
    if (!current) return
    stop = new AbortController()
    working = setTimeout(say, SLOW_MS, 'Working')
    try {
      await answer(current, stop.signal)
    } catch (error) {
      if (wantsToken(error)) {
        queue.unshift(current)
        current = undefined
        return askForToken(error)
      }
      if (error.name !== 'AbortError') {
        current.error = error.message
        show(current)
      }
    } finally {
      clearTimeout(working)
    }
  }
}

/** @param {Input} input @param {AbortSignal} signal */
async function answer(input, signal) {
  const isStale = () => signal.aborted || (input.isDrawing && queue.length > 0)
  if (input.read) input.image = await input.read()
  const { maxUploadBytes } = model.limits
  if (input.image?.size > maxUploadBytes) {
    throw new Error(
      `${input.name} has ${megabytes(input.image.size)}, and this server takes up to ${megabytes(maxUploadBytes)}: send it smaller`,
    )
  }
  const request = requestOf(input)
  const begun = performance.now()
  const response = await askPatiently('predict', { ...request, signal })
  input.result = await response.json()
  input.times = timesOf(response, performance.now() - begun)
  if (isStale()) return
  show(input)
  if (!input.image) return
  const headers = { accept: 'image/png' }
  const picture = await askPatiently('preprocess', { ...request, headers, signal })
  input.seen = await picture.blob()
  if (!isStale()) showPictures(input)
}

/** @param {Input} input @returns {RequestInit} */
function requestOf({ image, name, numbers }) {
  if (!image) return { method: 'POST', ...numbersBody(numbers) }
  const body = new FormData()
  body.append('image', image, name)
  return { method: 'POST', body }
}

function numbersBody(numbers) {
  if (numbers.length === 1) return { body: new URLSearchParams({ value: numbers[0] }) }
  const body = JSON.stringify({ data: numbers, dims: [numbers.length] })
  return { body, headers: { 'content-type': 'application/json' } }
}

/** Retry when the server was busy or unreachable. */
async function askPatiently(path, options) {
  for (let breaks = 0; ; ) {
    try {
      return await ask(path, options)
    } catch (error) {
      if (error instanceof Unreachable && breaks < MAX_BREAKS) {
        breaks++
        await reconnect(options.signal)
      } else if (error instanceof Refusal && error.status === 503) {
        const seconds = error.retryAfter || 1
        say(`${error.message} (asking again in ${seconds} s)`, true)
        await wait(seconds * 1000, options.signal)
      } else throw error
    }
  }
}

async function reconnect(signal) {
  say('The server does not answer. Waiting for it', true)
  await untilReady(signal)
  await describe() // it may have come back with another model
  say('')
}

// ---- output

/** Tells assistive technology that the result is about to change. */
function showBusy() {
  const isBusy = current !== undefined || queue.length > 0 || timer !== undefined
  $('answer').setAttribute('aria-busy', String(isBusy))
}

function say(text, isBad = false) {
  clearTimeout(working) // there is a result now
  $('message').textContent = text
  $('message').classList.toggle('bad', isBad)
}

/** @param {Input} input */
function show(input) {
  say(input.error ?? '', Boolean(input.error))
  if (!input.result) clearAnswer()
  else showResult(input.result)
  showPictures(input)
  $('times').replaceChildren(
    ...(input.times ?? []).map(([name, ms]) =>
      element('div', {}, element('dt', {}, name), element('dd', {}, `${ms.toFixed(ms < 10 ? 1 : 0)} ms`)),
    ),
  )
  showRequest(input)
  if (input.item) showItem(input)
}

function clearAnswer() {
  $('label').textContent = ''
  $('bars').replaceChildren()
  $('times').replaceChildren()
  $('pictures').hidden = true
}

function showResult({ label, predictions, prediction }) {
  const text = toText({ label, predictions, prediction })
  // screen readers read it when it changes, not at every stroke
  if ($('label').textContent !== text) $('label').textContent = text
  const bars = predictions ?? []
  $('bars').classList.toggle(
    'long',
    bars.some((bar) => bar.label.length > 14),
  )
  $('bars').replaceChildren(...bars.map(barOf))
}

function toText({ label, predictions, prediction }) {
  if (label !== undefined) return label
  if (!predictions) return [prediction].flat().map(String).join(', ')
  if (predictions.length === 0) return `nothing over ${model.threshold}`
  return predictions.map((one) => one.label).join(', ')
}

/** @param {{ label: string, score: number | null }} prediction @returns {HTMLElement} */
function barOf({ label, score }) {
  // scores that are not probabilities are shown as numbers, with full or empty bars
  const isShare = score >= 0 && score <= 1
  const fill = element('div', { className: 'fill' })
  fill.style.width = `${100 * Math.min(1, Math.max(0, score))}%`
  const track = element('div', { className: 'track' }, fill)
  if (model.threshold !== undefined) {
    const mark = element('div', { className: 'mark', title: `threshold ${model.threshold}` })
    mark.style.left = `${100 * model.threshold}%`
    track.append(mark)
  }
  const text = score === null ? 'no number' : isShare ? `${(100 * score).toFixed(1)} %` : score.toPrecision(4)
  return element(
    'li',
    {},
    element('span', { className: 'name' }, label),
    track,
    element('span', { className: 'score' }, text),
  )
}

function showPictures({ image, seen }) {
  $('pictures').hidden = !seen
  if (!seen) return
  setPicture($('sent'), image)
  setPicture($('seen'), seen)
}

$('seen').addEventListener('load', ({ target }) => {
  $('seen-size').textContent = `, ${target.naturalWidth} × ${target.naturalHeight}`
})

function setPicture(picture, blob) {
  URL.revokeObjectURL(picture.src)
  picture.src = URL.createObjectURL(blob)
}

/** The same request for curl and Python, without the token. */
function showRequest({ image, name, isDrawing, numbers }) {
  const url = new URL('predict', location.href).href
  const curl = ['curl']
  const python = ['import requests', '']
  const given = []
  if (image) {
    curl.push('-F', quoted(`image=@${/^[\w. /-]+$/.test(name) ? name : JSON.stringify(name)}`))
    given.push(`files={"image": open(${JSON.stringify(name)}, "rb")}`)
  } else if (numbers.length === 1) {
    curl.push('-d', `value=${numbers[0]}`)
    given.push(`data={"value": ${numbers[0]}}`)
  } else {
    const { body } = numbersBody(numbers)
    curl.push('-H', quoted('content-type: application/json'), '-d', quoted(body))
    given.push(`json=${body}`)
  }
  if (hasToken()) {
    curl.push('-H "Authorization: Bearer $API_TOKEN"')
    python.unshift('import os')
    given.push(`headers={"Authorization": "Bearer " + os.environ["API_TOKEN"]}`)
  }
  curl.push(quoted(url))
  python.push(
    `response = requests.post(${[JSON.stringify(url), ...given].join(', ')})`,
    'print(response.json())',
  )
  $('curl').textContent = curl.join(' ')
  $('python').textContent = python.join('\n')
  $('save').hidden = !isDrawing
  if (isDrawing) {
    URL.revokeObjectURL($('save-link').href)
    $('save-link').href = URL.createObjectURL(image)
  }
  $('request').hidden = false
}

/** As one word for a POSIX shell. */
function quoted(text) {
  return /^[\w@=:/.,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

/** A new element with its children. */
function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children)
  return made
}

function megabytes(bytes) {
  return `${Math.round((bytes / 2 ** 20) * 10) / 10} MB`
}

// ---- several images

/** @param {Input[]} inputs */
function showBatch(inputs) {
  for (const picture of $('batch-list').querySelectorAll('img')) URL.revokeObjectURL(picture.src)
  $('batch').hidden = inputs.length < 2
  if (inputs.length < 2) return $('batch-list').replaceChildren()
  for (const input of inputs) {
    const picture = element('img', { alt: '', src: URL.createObjectURL(input.image) })
    const outcome = element('span', { className: 'outcome' }, 'waiting')
    input.item = element('button', { type: 'button' }, picture, outcome, element('span', {}, input.name))
    input.item.addEventListener('click', () => {
      if (input.result || input.error) show(input)
    })
  }
  $('batch-list').replaceChildren(...inputs.map(({ item }) => element('li', {}, item)))
}

function showItem({ item, result, error }) {
  for (const other of $('batch-list').querySelectorAll('button')) other.removeAttribute('aria-current')
  item.setAttribute('aria-current', 'true')
  const outcome = item.querySelector('.outcome')
  outcome.textContent = error ? 'not read' : toText(result)
  outcome.classList.toggle('bad', Boolean(error))
}

// ---- input

/** @param {Iterable<File>} given */
function takeFiles(given) {
  const files = [...given]
  if (files.length === 0) return
  if (!model) {
    early = files
    return
  }
  if (!model.input.takesImages) return say(`${model.name} takes no images`, true)
  const inputs = files.slice(0, MAX_FILES).map((file) => ({ name: file.name, image: file }))
  showBatch(inputs)
  choose(...inputs)
  if (files.length > MAX_FILES) say(`Of ${files.length} files the first ${MAX_FILES} are taken`)
}

function drawn(ms) {
  if (ms > 0 && timer !== undefined) return
  clearTimeout(timer)
  timer = setTimeout(() => {
    timer = undefined
    showBusy()
    showBatch([])
    if (!drawing.isEmpty) return choose({ name: 'drawing.png', read: drawing.toPng, isDrawing: true })
    choose()
    clearAnswer()
    say('')
    $('request').hidden = true
  }, ms)
  showBusy()
}

$('undo').addEventListener('click', drawing.undo)
$('clear').addEventListener('click', drawing.clear)
$('pen').addEventListener('input', ({ target }) => {
  drawing.penWidth = Number(target.value)
})
document.addEventListener('keydown', (event) => {
  const isUndo = (event.ctrlKey || event.metaKey) && event.key === 'z' && !event.shiftKey
  if (!isUndo || $('drawing').hidden || event.target.matches('input:not([type="range"])')) return
  event.preventDefault()
  drawing.undo()
})

for (const id of ['file', 'camera']) {
  $(id).addEventListener('change', ({ target }) => {
    takeFiles(target.files)
    target.value = '' // so that the same file can be chosen again
  })
}
document.addEventListener('paste', (event) => {
  if (event.clipboardData.files.length === 0) return
  event.preventDefault()
  takeFiles(event.clipboardData.files)
})
for (const type of ['dragenter', 'dragover', 'dragleave', 'drop']) {
  document.addEventListener(type, (event) => {
    event.preventDefault()
    const isOver = type === 'dragover' || type === 'dragenter'
    document.body.classList.toggle('dragging', isOver && event.dataTransfer.types.includes('Files'))
    if (type === 'drop') takeFiles(event.dataTransfer.files)
  })
}
$('sample').addEventListener('click', async () => {
  try {
    const response = await ask('model/sample')
    const type = response.headers.get('content-type') ?? ''
    takeFiles([new File([await response.blob()], `sample.${type.includes('png') ? 'png' : 'jpg'}`, { type })])
  } catch (error) {
    say(error.message, true)
  }
})

$('number-form').addEventListener('submit', (event) => {
  event.preventDefault()
  const numbers = $('numbers')
    .value.trim()
    .split(/[\s,;]+/)
    .map(Number)
  const wanted = numbersWanted() || numbers.length
  if (numbers.some(Number.isNaN) || numbers.length !== wanted) {
    return say(`${wanted === 1 ? 'One number is' : `${wanted} numbers are`} wanted, such as 0.5`, true)
  }
  choose({ numbers })
})

for (const button of document.querySelectorAll('[data-copy]')) {
  button.addEventListener('click', async () => {
    const source = $(button.dataset.copy)
    // without TLS, the page of another machine may not write to the clipboard: select the text instead
    await navigator.clipboard?.writeText(source.textContent).then(
      () => {
        const { textContent } = button
        button.textContent = 'Copied'
        setTimeout(() => Object.assign(button, { textContent }), 1500)
      },
      () => {},
    )
    getSelection().selectAllChildren(source)
  })
}

// ---- the model

/** The number of numbers that a model without images takes; 0 = any number, undefined = too many to type. */
function numbersWanted() {
  const { dims } = model.input
  if (dims.length > 2) return undefined
  const count = dims.length < 2 ? 1 : dims[1]
  if (typeof count !== 'number') return 0
  return count <= 64 ? count : undefined
}

async function describe() {
  const response = await ask('model')
  model = await response.json()
  const { name, version, device, input, kind, labels, limits, sample } = model
  const [channels, height, width] = input.dims.slice(1)
  document.title = `${name}: onnxpress`
  $('name').textContent = name
  const takes = input.takesImages
    ? `${channels === 1 ? 'grey' : 'colour'} images${[height, width].every(Number.isInteger) ? ` as ${width} × ${height}` : ''}`
    : `${input.dtype} [${input.dims.join(', ')}]`
  const answers = {
    'single-label': `one of ${labels.length} labels`,
    'multi-label': `any of ${labels.length} labels`,
    regression: labels.length === 1 ? 'a number' : `${labels.length} numbers`,
    tensors: 'tensors',
  }
  $('about').textContent = `version ${version}, takes ${takes}, answers ${answers[kind]}, runs on ${device}`

  const canDraw = input.takesImages && channels === 1 && height <= 64 && width <= 64
  const canType = !input.takesImages && kind !== 'tensors' && numbersWanted() !== undefined
  if (canDraw && $('drawing').hidden) drawing.resize(width, height)
  $('drawing').hidden = !canDraw
  $('images').hidden = !input.takesImages
  $('limit').textContent = `, up to ${megabytes(limits.maxUploadBytes)}`
  $('sample').hidden = !sample
  $('number-form').hidden = !canType
  if (canType) {
    const count = numbersWanted()
    $('numbers-label').textContent =
      count === 1 ? 'A number' : `${count || 'The'} numbers, with commas between them`
  }
  $('no-input').hidden = input.takesImages || canType
  $('input').hidden = false
  $('token-form').hidden = true
  // a browser that follows a link sends no token
  document.querySelector('footer').hidden = hasToken()
  takeFiles(early.splice(0))
}

function wantsToken(error) {
  return error instanceof Refusal && error.status === 401
}

function askForToken(refusal) {
  $('input').hidden = true
  $('about').textContent = ''
  $('token-form').hidden = false
  say(hasToken() ? refusal.message : '', true)
  $('token').focus()
}

$('token-form').addEventListener('submit', (event) => {
  event.preventDefault()
  useToken($('token').value)
  $('token').value = ''
  say('')
  start()
})

async function start() {
  try {
    await describe()
    if (!current) work()
  } catch (error) {
    if (wantsToken(error)) return askForToken(error)
    say(error.message, true)
    if (!(error instanceof Unreachable)) return
    await untilReady()
    say('')
    start()
  }
}

start()
