/** A model's texts: the headline, the hints and the footnote. */

const MAX_NAMES = 3
/** most numbers that a visitor would type */
const MAX_NUMBERS = 64

/** The number of numbers that a model without images takes; 0 = any number, undefined = too many to type. */
export function numbersWanted({ input: { dims } }) {
  if (dims.length > 2) return undefined
  const count = dims.length < 2 ? 1 : dims[1]
  if (typeof count !== 'number') return 0
  return count <= MAX_NUMBERS ? count : undefined
}

/** Whether its images are small and grey, so that a visitor can draw them. */
export function canDraw({ input }) {
  const [channels, height, width] = input.dims.slice(1)
  return input.takesImages && channels === 1 && height <= 64 && width <= 64
}

/**
 * @param {object} model the response of GET /model
 * @returns {{ headline: string, subline: string, about: string, drawHint: string }}
 */
export function textsFor(model) {
  const { name, version, device, input, kind, labels } = model
  return {
    headline: headlineOf(model),
    subline: sublineOf(model),
    about: `${name}, version ${version}: takes ${inputText(input)}, predicts ${answerText(kind, labels)}, runs on ${device}.`,
    drawHint: `Draw ${drawnThing(labels)} here`,
  }
}

function headlineOf(model) {
  if (canDraw(model)) return `Draw ${drawnThing(model.labels)}`
  if (model.input.takesImages) return 'What is in the picture?'
  const count = numbersWanted(model)
  if (count === undefined) return 'This model takes tensors'
  return count === 1 ? 'Type a number' : `Type ${count || 'some'} numbers`
}

function drawnThing(labels) {
  if (labels.every((label) => /^\d$/.test(label))) return 'a digit'
  return labels.every((label) => [...label].length === 1) ? 'a character' : 'something'
}

function sublineOf(model) {
  const { kind, labels } = model
  if (canDraw(model) && drawnThing(labels) === 'a digit') return 'The model reads it while you draw.'
  if (kind === 'regression') return `The model predicts ${answerText(kind, labels)}.`
  const names = labels.slice(0, MAX_NAMES).join(', ')
  const more = labels.length - MAX_NAMES
  return `Classes: ${more > 0 ? `${names} and ${more.toLocaleString('en')} more` : names}.`
}

function inputText({ takesImages, dtype, dims }) {
  if (!takesImages) return `${dtype} [${dims.join(', ')}]`
  const [channels, height, width] = dims.slice(1)
  const size = [height, width].every(Number.isInteger) ? ` at ${width} × ${height}` : ''
  return `${channels === 1 ? 'grey' : 'colour'} images${size}`
}

function answerText(kind, labels) {
  if (kind === 'regression') return labels.length === 1 ? 'a number' : `${labels.length} numbers`
  return `${kind === 'multi-label' ? 'any' : 'one'} of ${labels.length} labels`
}
