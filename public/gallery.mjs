/** Several images: a tile for each, their order, and the table of their results. */
import { isUnsure, resultText, scoreText } from './answer.mjs'
import { $, element, setBlob, setText } from './dom.mjs'

/** @typedef {import('./predictor.mjs').Input} Input */

/**
 * @param {object} page
 * @param {() => object} page.model
 * @param {(input: Input) => void} page.onSelect called with a predicted input
 */
export function createGallery({ model, onSelect }) {
  /** @type {Map<Input, HTMLElement>} tiles, in the order given */
  let tiles = new Map()
  /** @type {Input | undefined} */
  let selected

  function select(input) {
    if (selected) tiles.get(selected).firstElementChild.removeAttribute('aria-current')
    selected = input
    tiles.get(input).firstElementChild.setAttribute('aria-current', 'true')
    onSelect(input)
  }

  function tileOf(input) {
    const picture = element('img', { alt: '' })
    setBlob(picture, input.image)
    const outcome = element('span', { className: 'outcome' }, 'waiting')
    const name = element('span', { className: 'file', title: input.name }, input.name)
    const button = element('button', { type: 'button' }, picture, outcome, name)
    button.addEventListener('click', () => {
      if (input.result || input.error) select(input)
    })
    return element('li', { className: 'waiting' }, button)
  }

  function fill(input) {
    const tile = tiles.get(input)
    const { result, error } = input
    const outcome = tile.querySelector('.outcome')
    tile.className = error ? 'bad' : isUnsure(result) ? 'unsure' : ''
    if (error) {
      outcome.title = error
      return setText(outcome, `failed: ${error.replace(`${input.name}: `, '')}`)
    }
    const text = resultText(result, model())
    const score = result.label === undefined ? [] : [element('small', {}, scoreText(result.predictions[0]))]
    outcome.title = text
    outcome.replaceChildren(element('b', {}, text), ...score)
  }

  /** @returns {boolean} whether all are done */
  function count() {
    const all = [...tiles.keys()]
    const done = all.filter(({ result, error }) => result || error).length
    setText($('gallery-count'), done < all.length ? `${done} of ${all.length} images` : `${done} images`)
    $('csv').hidden = done < all.length
    if (done < all.length) return false
    setBlob($('csv'), new Blob([toCsv(all)], { type: 'text/csv' }))
    if ($('sort').value !== 'given') sort() // now that all results are known
    return true
  }

  function sort() {
    const by = ORDERS[$('sort').value]
    const rows = [...tiles.keys()]
    const sorted = by ? rows.toSorted((a, b) => by(a, b, model())) : rows
    $('tiles').replaceChildren(...sorted.map((input) => tiles.get(input)))
  }
  $('sort').addEventListener('change', sort)

  return {
    /** @param {Input[]} inputs replace the current ones; none to leave the gallery */
    show(inputs) {
      for (const picture of $('tiles').querySelectorAll('img')) URL.revokeObjectURL(picture.src)
      selected = undefined
      tiles = new Map(inputs.map((input) => [input, tileOf(input)]))
      $('sort').value = 'given'
      $('tiles').replaceChildren(...tiles.values())
      if (inputs.length > 0) count()
    },
    /** Whether it shows this input. */
    has: (input) => tiles.has(input),
    /** Show the outcome in the input's own tile. The first good one is selected. */
    update(input) {
      fill(input)
      const isLast = count()
      // if none could be read, the last one shows why
      if (!selected && (input.result || isLast)) select(input)
    },
    get selected() {
      return selected
    },
  }
}

const certainty = ({ result }) => result?.predictions?.[0]?.score ?? -1
const byName = new Intl.Collator(undefined, { numeric: true })

/** Comparisons by the value of the select; inputs that failed come last. */
const ORDERS = {
  label: (a, b, model) =>
    Number(!a.result) - Number(!b.result) ||
    (a.result ? byName.compare(resultText(a.result, model), resultText(b.result, model)) : 0),
  certain: (a, b) => certainty(b) - certainty(a),
  uncertain: (a, b) => Number(!a.result) - Number(!b.result) || certainty(a) - certainty(b),
}

/** @param {Input[]} inputs @returns {string} RFC 4180, one row per prediction's label or number */
function toCsv(inputs) {
  const rows = inputs.map(({ name, result, error }) => {
    if (!result) return [name, '', '', error]
    const { label, predictions, prediction } = result
    if (label !== undefined) return [name, label, predictions[0].score, '']
    if (!predictions) return [name, [prediction].flat().join(' '), '', '']
    return [
      name,
      predictions.map((one) => one.label).join(';'),
      predictions.map((one) => one.score).join(';'),
      '',
    ]
  })
  const field = (value) => (/[",\r\n]/.test(value) ? `"${String(value).replaceAll('"', '""')}"` : value)
  return [['file', 'prediction', 'score', 'error'], ...rows]
    .map((row) => `${row.map(field).join(',')}\r\n`)
    .join('')
}
