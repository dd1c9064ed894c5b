/** The card "Use it from code": the request of the answer for curl, Python and JavaScript, without the token. */
import { $, element, setBlob, setText } from './dom.mjs'
import { numbersBody } from './predictor.mjs'
import { hasToken } from './server.mjs'

/** @typedef {import('./predictor.mjs').Input} Input */

/** By the name on the tab. @type {Record<string, (url: string, input: Input) => string>} */
const LANGUAGES = { curl: toCurl, Python: toPython, JavaScript: toJavaScript }

/** @type {Input} what the snippets send */
let shown
let language = 'curl'

const tabs = Object.keys(LANGUAGES).map((name) => {
  const tab = element('button', { type: 'button', role: 'tab', id: `tab-${name}` }, name)
  tab.setAttribute('aria-controls', 'snippet')
  tab.addEventListener('click', () => choose(name))
  return tab
})
$('tabs').append(...tabs)
$('tabs').addEventListener('keydown', (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key]
  if (!step) return
  const next = tabs.at((tabs.indexOf(event.target) + step) % tabs.length)
  choose(next.textContent)
  next.focus()
})

function choose(name) {
  language = name
  for (const tab of tabs) {
    const isChosen = tab.textContent === name
    tab.setAttribute('aria-selected', String(isChosen))
    tab.tabIndex = isChosen ? 0 : -1
    if (isChosen) $('snippet').setAttribute('aria-labelledby', tab.id)
  }
  if (shown) write()
}
choose(language)

/** @param {Input} input */
export function showCode(input) {
  shown = input
  $('code').hidden = false
  write()
  const { image, name, isMade } = input
  $('save').hidden = !(image && isMade)
  if ($('save').hidden) return
  setBlob($('save-link'), image)
  $('save-link').download = name
  $('save-link').textContent = name
}

/** Hide it when no request would work. */
export function hideCode() {
  $('code').hidden = true
}

function write() {
  setText($('snippet'), LANGUAGES[language](new URL('predict', location.href).href, shown))
}

function toCurl(url, { name, numbers }) {
  const lines = [`curl ${quoted(url)}`]
  if (name) lines.push(`-F ${quoted(`image=@${/^[\w. /-]+$/.test(name) ? name : JSON.stringify(name)}`)}`)
  else if (numbers.length === 1) lines.push(`-d value=${numbers[0]}`)
  else lines.push("-H 'content-type: application/json'", `-d ${quoted(numbersBody(numbers).body)}`)
  if (hasToken()) lines.push('-H "Authorization: Bearer $API_TOKEN"')
  return lines.join(' \\\n  ')
}

/** As one word for a POSIX shell. */
function quoted(text) {
  return /^[\w@=:/.,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`
}

function toPython(url, { name, numbers }) {
  const lines = ['import requests', '']
  const given = [JSON.stringify(url)]
  if (hasToken()) {
    lines.unshift('import os')
    lines.push('headers = {"Authorization": "Bearer " + os.environ["API_TOKEN"]}')
  }
  if (name) {
    lines.push(`image = open(${JSON.stringify(name)}, "rb")`)
    given.push('files={"image": image}')
  } else if (numbers.length === 1) given.push(`data={"value": ${numbers[0]}}`)
  else given.push(`json=${numbersBody(numbers).body}`)
  if (hasToken()) given.push('headers=headers')
  lines.push(`response = requests.post(${list(given)})`, 'print(response.json())')
  return lines.join('\n')
}

function toJavaScript(url, { name, numbers }) {
  const lines = name ? ["import { readFile } from 'node:fs/promises'", ''] : []
  const options = ["method: 'POST'", 'body']
  const headers = []
  if (name) lines.push(`const body = await readFile(${JSON.stringify(name)})`)
  else if (numbers.length === 1) lines.push(`const body = new URLSearchParams({ value: ${numbers[0]} })`)
  else {
    lines.push(`const body = '${numbersBody(numbers).body}'`)
    headers.push("'content-type': 'application/json'")
  }
  // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the snippet's
  if (hasToken()) headers.push('authorization: `Bearer ${process.env.API_TOKEN}`')
  if (headers.length > 0) {
    lines.push(`const headers = { ${headers.join(', ')} }`)
    options.push('headers')
  }
  lines.push(
    `const response = await fetch(${list([JSON.stringify(url), `{ ${options.join(', ')} }`])})`,
    'console.log(await response.json())',
  )
  return lines.join('\n')
}

/** Arguments, one per line, so that no call is cut off at the edge of the card. */
function list(given) {
  return `\n${given.map((argument) => `  ${argument},\n`).join('')}`
}

$('copy').addEventListener('click', async () => {
  // without TLS, a page from another machine may not write to the clipboard: select the text instead
  await navigator.clipboard?.writeText($('snippet').textContent).then(
    () => {
      $('copy').textContent = 'Copied'
      setTimeout(() => Object.assign($('copy'), { textContent: 'Copy' }), 1500)
    },
    () => {},
  )
  getSelection().selectAllChildren($('snippet'))
})
