/** The answer: the label, its bars, what the model saw, and where the time went. */
import { $, element, setBlob, setText } from './dom.mjs'

/** The model is not sure below this score, or when the second score is this close. */
const SURE = 0.5
const CLOSE = 0.1
/** bars that are shown at once; as many as TOP_K is by default */
const MAX_BARS = 5
const MAX_NAMES = 3
/** a response that takes longer is announced, milliseconds */
const SLOW_MS = 300
const WORKING = 'Working'

let slow

/** Whether the model is not sure of its label, so that the page must not look as if it were. */
export function isUnsure({ label, predictions }) {
  if (label === undefined || !predictions.every(isShare)) return false
  return predictions[0].score < SURE || isClose(predictions)
}

function isClose([best, second]) {
  return second !== undefined && best.score - second.score < CLOSE
}

/** Scores that are not probabilities are shown as numbers. */
function isShare({ score }) {
  return score !== null && score >= 0 && score <= 1
}

/** @returns {string} `97.3%`, a number with four digits, or `not a number` */
export function scoreText({ score }) {
  if (score === null) return 'not a number'
  return isShare({ score }) ? `${(100 * score).toFixed(1)}%` : String(Number(score.toPrecision(4)))
}

/** The result in a few words. @param {{ threshold?: number }} model */
export function resultText({ label, predictions, prediction }, { threshold }) {
  if (label !== undefined) return label
  if (!predictions) return [prediction].flat().map(numberText).join(', ')
  if (predictions.length === 0) return `nothing above ${threshold}`
  const names = predictions.map((one) => one.label)
  const more = names.length - MAX_NAMES
  return more > 0 ? `${names.slice(0, MAX_NAMES).join(', ')} and ${more} more` : names.join(', ')
}

/** float32 has no more digits */
function numberText(number) {
  return number === null ? 'not a number' : String(Number(number.toPrecision(7)))
}

/** @param {import('./predictor.mjs').Input} input with a result or an error */
export function showAnswer({ result, error, times, seen, isLive }, model) {
  notify(error ?? '', Boolean(error))
  if (!result) return clearAnswer('failed')
  $('answer').dataset.state = 'result'
  showLabel(result, model)
  showBars(result, model)
  if (seen) showSeen(seen)
  else if (!isLive) hideSeen() // that of another image
  const rows = times.map(([name, ms]) =>
    element('div', {}, element('dt', {}, name), element('dd', {}, `${ms.toFixed(ms < 10 ? 1 : 0)} ms`)),
  )
  $('times').replaceChildren(...rows)
}

function showLabel(result, model) {
  const text = resultText(result, model)
  const doubt = isUnsure(result)
  const [before, after] = !doubt
    ? ['', '']
    : isClose(result.predictions)
      ? ['', `, or perhaps ${result.predictions[1].label}`]
      : ['perhaps ', '']
  const label = $('label')
  $('answer').classList.toggle('unsure', doubt)
  label.dataset.size = text.length <= 3 ? 'sign' : text.length <= 12 ? 'word' : 'phrase'
  label.title = text.length > 12 ? text : ''
  if (label.textContent !== before + text + after) {
    const aside = (words) => (words ? [element('small', {}, words)] : [])
    label.replaceChildren(...aside(before), text, ...aside(after))
  }
  setText($('doubt'), doubt ? 'The model is not sure' : '')
}

function showBars({ label, predictions = [] }, { threshold }) {
  const bars = $('bars')
  while (bars.children.length > predictions.length) bars.lastElementChild.remove()
  addBars(predictions.length)
  predictions.forEach((prediction, index) => {
    const [name, track, score] = bars.children[index].children
    bars.children[index].classList.toggle('predicted', label === undefined || index === 0)
    setText(name, prediction.label)
    name.title = prediction.label
    setText(score, scoreText(prediction))
    // scores that are not probabilities have full or empty bars
    track.firstElementChild.style.width = `${100 * Math.min(1, Math.max(0, prediction.score))}%`
    if (threshold === undefined) return
    const mark = track.children[1] ?? track.appendChild(element('span', { className: 'mark' }))
    mark.title = `threshold ${threshold}`
    mark.style.left = `${100 * threshold}%`
  })
  bars.removeAttribute('aria-hidden')
  bars.classList.remove('all')
  $('more').hidden = predictions.length <= MAX_BARS
  $('more').textContent = `Show all ${predictions.length}`
}

/** Rows stay where they are, so that their bars move from one answer to the next. */
function addBars(count) {
  while ($('bars').children.length < count) $('bars').append($('bar').content.cloneNode(true))
}

$('more').addEventListener('click', () => {
  $('more').hidden = $('bars').classList.toggle('all')
})

/** @param {'empty' | 'failed'} state */
export function clearAnswer(state) {
  $('answer').dataset.state = state
  $('answer').classList.remove('unsure')
  $('bars').replaceChildren()
  if (state === 'empty') addBars(MAX_BARS) // placeholders
  $('bars').setAttribute('aria-hidden', 'true')
  $('times').replaceChildren()
  $('label').removeAttribute('data-size')
  $('more').hidden = true
  hideSeen()
  setText($('label'), '')
  setText($('doubt'), '')
}

function hideSeen() {
  $('seen').hidden = true
  setText($('seen-size'), '')
}

/** @param {Blob} image */
export function showSeen(image) {
  setBlob($('seen'), image)
  $('seen').hidden = false
}

$('seen').addEventListener('load', ({ target }) => {
  const { naturalWidth, naturalHeight } = target
  $('seen-size').textContent = `${naturalWidth} × ${naturalHeight}`
  target.classList.toggle('pixels', naturalWidth < target.width)
})

/** Tell assistive technology that the result will change; after a while, tell everybody. */
export function setBusy(isBusy) {
  $('answer').setAttribute('aria-busy', String(isBusy))
  clearTimeout(slow)
  if (isBusy) slow = setTimeout(() => $('message').textContent || notify(WORKING), SLOW_MS)
  else if ($('message').textContent === WORKING) notify('')
}

export function notify(text, isBad = false) {
  clearTimeout(slow)
  setText($('message'), text)
  $('message').classList.toggle('bad', isBad && text !== '')
}
