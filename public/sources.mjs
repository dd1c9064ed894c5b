/** Where images come from: chosen, dropped, pasted, photographed, or a sample of the model's folder. */
import { $, element, setBlob } from './dom.mjs'
import { request } from './server.mjs'

/** most samples shown at once */
const MAX_SAMPLES = 6

/**
 * @param {object} page
 * @param {(files: File[]) => void} page.onFiles
 * @param {(sample: File) => void} page.onSample
 */
export function listenForImages({ onFiles, onSample }) {
  for (const id of ['file', 'capture']) {
    $(id).addEventListener('change', ({ target }) => {
      onFiles([...target.files])
      target.value = '' // so that the same file can be chosen again
    })
  }
  document.addEventListener('paste', (event) => {
    if (event.clipboardData.files.length === 0) return
    event.preventDefault()
    onFiles([...event.clipboardData.files])
  })
  for (const type of ['dragenter', 'dragover', 'dragleave', 'drop']) {
    document.addEventListener(type, (event) => {
      event.preventDefault()
      const isOver = type === 'dragover' || type === 'dragenter'
      document.body.classList.toggle('dragging', isOver && event.dataTransfer.types.includes('Files'))
      if (type === 'drop') onFiles([...event.dataTransfer.files])
    })
  }

  /** Offer a model's samples. @param {string[]} paths @returns {Promise<void>} when all are shown */
  return async function showSamples(paths) {
    const read = await Promise.all(paths.slice(0, MAX_SAMPLES).map(readSample))
    const files = read.filter(Boolean)
    $('samples').replaceChildren(...files.map((file) => sampleOf(file, onSample)))
    $('samples').hidden = files.length === 0
    $('sources-heading').textContent = files.length > 0 ? 'Or try one of these' : 'Your own images'
  }
}

/** @param {string} path from GET /model @returns {Promise<File | undefined>} undefined when it cannot be read */
async function readSample(path) {
  try {
    const response = await request(path.slice(1)) // relative, as all of the page's paths are
    const blob = await response.blob()
    const name = decodeURIComponent(path.split('/').at(-1))
    const extension = blob.type.split('/')[1].replace('jpeg', 'jpg')
    return new File([blob], name.includes('.') ? name : `${name}.${extension}`, { type: blob.type })
  } catch {
    return undefined
  }
}

function sampleOf(file, onSample) {
  const picture = element('img', { alt: `Sample ${file.name.replace(/\.\w+$/, '')}` })
  setBlob(picture, file)
  const button = element('button', { type: 'button' }, picture)
  button.addEventListener('click', () => onSample(file))
  return element('li', {}, button)
}
