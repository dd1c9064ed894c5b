/** The page: takes a drawing, images or numbers, has them predicted, and shows the results. */
import { clearAnswer, notify, setBusy, showAnswer, showSeen } from './answer.mjs'
import { createCamera, hasCamera } from './camera.mjs'
import { hideCode, showCode } from './code.mjs'
import { $, setBlob } from './dom.mjs'
import { createDrawing } from './drawing.mjs'
import { createGallery } from './gallery.mjs'
import { createPredictor } from './predictor.mjs'
import { HttpError, hasToken, request, Unreachable, untilReady, useToken, wait } from './server.mjs'
import { listenForImages } from './sources.mjs'
import { canDraw, numbersWanted, textsFor } from './texts.mjs'

/** @typedef {import('./predictor.mjs').Input} Input */

/** most files at once */
const MAX_FILES = 100
/** pause between two requests while drawing, milliseconds */
const DRAW_MS = 100
/** pause between an answer to the camera and its next frame, milliseconds */
const LIVE_MS = 150
/** a drawing that covers less of the canvas is too small to be read well */
const SMALL = 0.25

/** the response of GET /model */
let model
/** @type {File[]} given before the model was known */
let early = []
/** timer: send the drawing, or the camera's next frame */
let timer

// ---- predictions

const predictor = createPredictor({
  maxBytes: () => model.limits.maxUploadBytes,
  onBusy: (isBusy) => setBusy(isBusy || timer !== undefined),
  onWait: (text) => notify(text, true),
  onReconnect: async () => {
    await describe() // it may have come back with another model
    notify('')
  },
  onDone(input) {
    if (gallery.has(input)) gallery.update(input)
    else show(input)
    if (isLive()) schedule(sendFrame, LIVE_MS)
  },
  onSeen(input) {
    if (!gallery.has(input) || gallery.selected === input) showSeen(input.seen)
  },
  onUnauthorized: askForToken,
})

const gallery = createGallery({ model: () => model, onSelect: show })

/** @param {Input} input with a result or an error */
function show(input) {
  showAnswer(input, model)
  if (input.error) hideCode()
  else showCode(input)
}

/** As before the first answer, with code for the visitor's own input. */
function showNothing() {
  predictor.choose()
  clearAnswer('empty')
  notify('')
  const numbers = numbersWanted(model)
  if (model.input.takesImages) showCode({ name: 'image.png' })
  else if (numbers !== undefined) showCode({ numbers: new Array(numbers || 1).fill(5) })
  else hideCode()
}

// ---- the stage shows one view at a time

/** @param {string} id of the view */
function showView(id) {
  if (id !== 'camera') camera.close()
  if (id !== 'gallery') gallery.show([])
  for (const view of document.querySelectorAll('.view')) view.hidden = view.id !== id
  scrollTo(0, 0) // on a phone, the samples are below the stage
}

/** Back to where the visitor began. */
function showHome() {
  if (canDraw(model)) showView('draw')
  else if (model.input.takesImages) showView('drop')
  else showView(numbersWanted(model) === undefined ? 'no-input' : 'numbers-form')
  if (!canDraw(model) || drawing.isEmpty) showNothing()
  else schedule(sendDrawing, 0)
}

/** @param {File[]} files */
function takeFiles(files) {
  if (!model) {
    early = files
    return
  }
  if (files.length === 0) return
  if (!model.input.takesImages) return notify(`${model.name} takes no images`, true)
  if (files.length === 1) return takeImage({ name: files[0].name, image: files[0] })
  const inputs = files.slice(0, MAX_FILES).map((file) => ({ name: file.name, image: file }))
  showView('gallery')
  gallery.show(inputs)
  clearAnswer('empty')
  predictor.choose(...inputs)
  notify(files.length > MAX_FILES ? `Only the first ${MAX_FILES} of ${files.length} files are used` : '')
}

/** @param {Input} input one image, shown in place of the canvas */
function takeImage(input) {
  showView('photo')
  clearAnswer('empty')
  setBlob($('sent'), input.image)
  $('sent-name').textContent = input.name
  predictor.choose(input)
}

const showSamples = listenForImages({
  onFiles: takeFiles,
  onSample: (file) => takeImage({ name: file.name, image: file, isMade: true }),
})

for (const id of ['again', 'gallery-close', 'camera-close']) $(id).addEventListener('click', showHome)

// ---- drawing

const drawing = createDrawing($('canvas'), {
  onDraw: () => drawn(DRAW_MS),
  onChange: () => drawn(0),
})

function drawn(ms) {
  const isSmall = !drawing.isDrawing && drawing.extent < SMALL
  const hint = drawing.isEmpty ? textsFor(model).drawHint : isSmall ? 'Draw it larger' : ''
  if (hint) $('draw-hint').textContent = hint
  $('draw').classList.toggle('hinted', hint !== '')
  $('draw').classList.toggle('drawn', !drawing.isEmpty)
  if (ms === 0 || timer === undefined) schedule(sendDrawing, ms)
}

/** Replaces what was scheduled before. */
function schedule(send, ms) {
  clearTimeout(timer)
  timer = setTimeout(() => {
    timer = undefined
    send()
  }, ms)
  setBusy(true)
}

function sendDrawing() {
  if (drawing.isEmpty) showNothing()
  else predictor.choose({ name: 'drawing.png', read: drawing.toPng, isLive: true, isMade: true })
}

$('undo').addEventListener('click', drawing.undo)
$('clear').addEventListener('click', drawing.clear)
$('pen').addEventListener('input', ({ target }) => {
  drawing.penWidth = Number(target.value)
})
document.addEventListener('keydown', (event) => {
  const isUndo = (event.ctrlKey || event.metaKey) && event.key === 'z' && !event.shiftKey
  if (!isUndo || $('draw').hidden || event.target.matches('input:not([type="range"])')) return
  event.preventDefault()
  drawing.undo()
})

// ---- camera

const camera = createCamera($('viewfinder'))
const isLive = () => !$('camera').hidden

function sendFrame() {
  if (isLive()) predictor.choose({ name: 'camera.jpg', read: camera.frame, isLive: true, isMade: true })
  else setBusy(false)
}

$('camera-open').addEventListener('click', async () => {
  if (!hasCamera) return $('capture').click()
  showView('camera')
  clearAnswer('empty')
  $('shoot').disabled = true // there is no picture yet
  try {
    if (!(await camera.open())) return
    $('shoot').disabled = false
    sendFrame()
  } catch (error) {
    showHome()
    notify(error.message, true)
  }
})
$('shoot').addEventListener('click', async () => {
  const image = await camera.frame()
  takeImage({ name: 'camera.jpg', image, isMade: true })
})

// ---- numbers

$('numbers-form').addEventListener('submit', (event) => {
  event.preventDefault()
  const words = $('numbers').value.split(/[\s,;]+/)
  const numbers = words.filter(Boolean).map(Number)
  const wanted = numbersWanted(model) || numbers.length
  if (!numbers.every(Number.isFinite) || numbers.length !== wanted || wanted === 0) {
    return notify(`Enter ${wanted === 1 ? 'one number' : `${wanted} numbers`}, such as 0.5`, true)
  }
  predictor.choose({ numbers })
})

// ---- the model

/** Ask what the server serves, and adapt the page to it. */
async function describe() {
  const before = model
  model = await (await request('model')).json()
  const { headline, subline, about, drawHint } = textsFor(model)
  document.title = `${model.name}: onnxpress`
  $('name').textContent = model.name
  $('headline').textContent = headline
  $('subline').textContent = subline
  $('about').textContent = about
  const { takesImages, dims } = model.input
  $('seen-figure').hidden = $('sources').hidden = !takesImages
  $('again').textContent = canDraw(model) ? 'Draw again' : 'Remove'
  $('camera-open').hidden = !hasCamera && !matchMedia('(pointer: coarse)').matches
  const numbers = numbersWanted(model)
  $('numbers-label').textContent =
    numbers === 1 ? 'A number' : `${numbers || 'The'} numbers, separated by commas`
  $('stage').hidden = false
  $('token-form').hidden = true
  // a browser that follows a link sends no token
  $('links').hidden = hasToken()
  showSamples(model.samples)
  if (JSON.stringify(before?.input) === JSON.stringify(model.input)) return
  if (canDraw(model)) {
    drawing.resize(dims[3], dims[2])
    $('draw-hint').textContent = drawHint
    $('draw').classList.toggle('hinted', drawing.isEmpty)
  }
  showHome()
}

function askForToken() {
  $('stage').hidden = $('sources').hidden = $('code').hidden = true
  $('headline').textContent = 'This server is private'
  $('subline').textContent = ''
  $('token-form').hidden = false
  notify(hasToken() ? 'The server does not accept this token: use the value of its API_TOKEN' : '', true)
  $('token').focus()
}

$('token-form').addEventListener('submit', (event) => {
  event.preventDefault()
  const token = $('token').value.trim()
  if (!/^[!-~]+$/.test(token)) {
    return notify('A token has neither spaces nor accents: check what you pasted', true)
  }
  useToken(token)
  $('token').value = ''
  notify('')
  start()
})

async function start() {
  try {
    await describe()
    predictor.resume()
    takeFiles(early.splice(0))
  } catch (error) {
    if (error instanceof HttpError && error.status === 401) return askForToken()
    notify(error.message, true)
    // a proxy responds before the server does
    if (!(error instanceof Unreachable) && ![502, 503, 504].includes(error.status)) return
    await wait(1000)
    await untilReady()
    notify('')
    start()
  }
}

start()
