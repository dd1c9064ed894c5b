/** Short helpers for DOM elements. */

/** @param {string} id @returns {HTMLElement} */
export const $ = (id) => document.getElementById(id)

/** A new element with its children. */
export function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties)
  made.append(...children)
  return made
}

/** Show an image, or let a link download it. @param {HTMLImageElement | HTMLAnchorElement} target @param {Blob} blob */
export function setBlob(target, blob) {
  const attribute = target.tagName === 'A' ? 'href' : 'src'
  URL.revokeObjectURL(target[attribute])
  target[attribute] = URL.createObjectURL(blob)
}

/** Text for an element, which screen readers read only when it changes. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text
}
