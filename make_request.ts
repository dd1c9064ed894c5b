/**
 * The client: sends an image of a digit to the server and prints the predicted digit.
 *
 *   node make_request.js [IMAGE] [--url URL] [--upload]
 *
 * By default the client turns the image into a tensor and sends its raw bytes, with the dims as JSON. With --upload it
 * sends the file, and the server makes the tensor. If the server requires a token, set API_TOKEN for the client too.
 */
import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { loadRecipe, preprocess } from './preprocess/index.ts'

const MODEL_DIR = fileURLToPath(new URL('./models/mnist', import.meta.url))
const USAGE = 'usage: node make_request.js [IMAGE] [--url http://localhost:8890/predict] [--upload]'

/** The book's form: `metadata` with the dims, here [1, 28, 28], and `data` with float32 little-endian bytes. */
async function tensorForm(file: Uint8Array): Promise<FormData> {
  const recipe = loadRecipe(MODEL_DIR)
  if (!recipe) throw new Error(`${MODEL_DIR} has no preprocessor_config.json`)
  const { data, dims } = await preprocess(file, recipe, { maxPixels: 50_000_000 })
  const metadata = JSON.stringify({ dims: dims.slice(1) })
  const form = new FormData()
  form.set('metadata', new Blob([metadata], { type: 'application/json' }))
  form.set('data', new Blob([new Uint8Array(data.buffer)], { type: 'application/octet-stream' }))
  return form
}

function uploadForm(file: Uint8Array): FormData {
  const form = new FormData()
  form.set('image', new Blob([new Uint8Array(file)]))
  return form
}

/** @returns the label */
async function send(url: URL, body: FormData): Promise<string> {
  const { API_TOKEN: token } = process.env
  const headers = { accept: 'application/json', ...(token && { authorization: `Bearer ${token}` }) }
  let response: Response
  try {
    response = await fetch(url, { method: 'POST', body, headers })
  } catch (error) {
    const { cause } = error as { cause?: unknown }
    if (!cause) throw error // an address or a token that cannot be sent
    const [reason] = cause instanceof AggregateError ? cause.errors : [cause] // one per address of the host
    throw new Error(
      `${url.origin} is not responding (${messageOf(reason)}): start the server with npm start, or set --url`,
    )
  }
  const answer = (await response.json().catch(() => undefined)) as
    | { label?: string; detail?: string }
    | undefined
  if (!response.ok)
    throw new Error(`${url} responded with ${response.status}: ${answer?.detail ?? response.statusText}`)
  if (!answer) throw new Error(`${url} did not respond with JSON: is it the address of this server?`)
  if (answer.label === undefined)
    throw new Error(`${url} responded without a label: it is not a single-label classifier`)
  return answer.label
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

function readArguments() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        help: { type: 'boolean' },
        url: { type: 'string', default: 'http://localhost:8890/predict' },
        upload: { type: 'boolean' },
      },
    })
  } catch (error) {
    throw new Error(`${messageOf(error).split('. ')[0]}: ${USAGE}`) // Node's advice does not apply here
  }
}

async function main(): Promise<void> {
  const { values, positionals } = readArguments()
  if (values.help) return console.log(USAGE)
  if (positionals.length > 1) throw new Error(`Unexpected argument '${positionals[1]}': ${USAGE}`)
  if (!/^https?:/.test(values.url) || !URL.canParse(values.url)) {
    throw new Error(`--url ${values.url} is not an http address: ${USAGE}`)
  }
  const url = new URL(values.url)
  if (url.pathname === '/') url.pathname = '/predict'
  const path = positionals[0] ?? `${MODEL_DIR}/sample.png`
  const file = await readFile(path).catch((error) => {
    if (error.code === 'ENOENT') throw new Error(`there is no file ${path}: pass the path of an image`)
    throw new Error(`${path} cannot be read: ${messageOf(error)}`)
  })
  const label = await send(url, values.upload ? uploadForm(file) : await tensorForm(file))
  console.log(`Predicted digit : ${label}`)
}

main().catch((error) => {
  console.error(`make_request: ${messageOf(error)}`)
  process.exitCode = 1
})
