/** The settings: one table, read from the environment (or .env) once, at startup. */
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { StartError } from '../inference/errors.ts'
import { availableMemory } from '../workers/available_memory.ts'

interface Setting<T> {
  /** used when the variable is unset or empty; undefined = none */
  default: T
  /** the default as the documentation shows it, if the value itself says too little */
  shownDefault?: string
  /** the allowed values, in words */
  range: string
  help: string
  /** undefined = not allowed */
  parse: (text: string) => T | undefined
  /** never printed, not even in the error for a wrong value */
  isSecret?: boolean
}

function text(defaultValue: string, range: string, help: string, shownDefault?: string): Setting<string> {
  return { default: defaultValue, shownDefault, range, help, parse: (value) => value }
}

/** The path of a request, before the query; clients percent-encode everything except ASCII. */
function path(help: string): Setting<string> {
  const parse = (value: string) => (/^\/[!-~]*$/.test(value) && !/[?#]/.test(value) ? value : undefined)
  return { default: '', shownDefault: 'none', range: 'a path that starts with /', help, parse }
}

function wholeNumber(
  defaultValue: number,
  min: number,
  max: number,
  help: string,
  shownDefault?: string,
): Setting<number> {
  const parse = (value: string) => {
    const number = Number(value)
    return /^\d+$/.test(value) && number >= min && number <= max ? number : undefined
  }
  return { default: defaultValue, shownDefault, range: `a whole number from ${min} to ${max}`, help, parse }
}

function oneOf<T extends string>(defaultValue: T, values: readonly T[], help: string): Setting<T> {
  const parse = (value: string) => values.find((allowed) => allowed === value)
  return { default: defaultValue, range: values.join(', '), help, parse }
}

/** The items of a list with commas, in lower case. */
function itemsOf(value: string): string[] {
  return value
    .toLowerCase()
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '')
}

/** Host names without ports, in lower case. */
function hostNames(help: string): Setting<readonly string[]> {
  const parse = (value: string) => {
    const names = itemsOf(value).map((name) => name.replace(/\.$/, ''))
    return names.every((name) => /^([\w-]+(\.[\w-]+)*|\[[\da-f:.]+\])$/.test(name)) ? names : undefined
  }
  return { default: [], shownDefault: 'none', range: 'host names, separated by commas', help, parse }
}

/** Origins as browsers send them, in lower case and without a path; or `*`. */
function originList(help: string): Setting<readonly string[]> {
  const parse = (value: string) => {
    const origins = itemsOf(value)
    const isOrigin = (text: string) =>
      /^https?:\/\/[^*]+$/.test(text) && URL.canParse(text) && new URL(text).origin === text
    return origins.every((origin) => origin === '*' || isOrigin(origin)) ? origins : undefined
  }
  const range = '* or origins such as https://example.com, separated by commas'
  return { default: [], shownDefault: 'none', range, help, parse }
}

const DEVICES = ['auto', 'cpu', 'cuda', 'webgpu', 'coreml', 'dml'] as const
const LOG_LEVELS = ['silent', 'fatal', 'error', 'warn', 'info', 'debug', 'trace'] as const

const BUNDLED_MODEL = fileURLToPath(new URL('../../models/mnist', import.meta.url))
const CORES = availableParallelism()
/** Memory for decoding the largest image, with everything else the server needs, per pixel. */
const BYTES_PER_PIXEL = 20

export const SETTINGS = {
  HOST: text('127.0.0.1', 'address', 'address to listen on; 0.0.0.0 for every interface'),
  PORT: wholeNumber(8890, 0, 65535, 'port to listen on; 0 picks a free one'),
  MODEL_DIR: text(
    BUNDLED_MODEL,
    'folder',
    'the model folder, relative to the working directory, or hf://owner/model[@revision]',
    'models/mnist',
  ),
  MODEL_FILE: {
    ...text(
      '',
      'a path inside the model folder',
      'the graph, relative to the model folder',
      'model.onnx, else onnx/model.onnx',
    ),
    parse: (value: string) => {
      const path = value.replace(/^(\.[/\\]+)+/, '')
      return /^\.\.[/\\]|[/\\]\.\.[/\\]|^[/\\]/.test(path) ? undefined : path
    },
  },
  MODEL_NAME: text('', 'text', 'name of the model in responses', "the folder's name"),
  DEVICE: oneOf('auto', DEVICES, 'device to run the model on; auto is cuda if it loads, else cpu'),
  MAX_BATCH_SIZE: wholeNumber(
    32,
    1,
    4096,
    'largest batch, in samples; on a CPU at most 8 if a sample takes more than 1 ms',
  ),
  MAX_BATCH_DELAY_MS: wholeNumber(0, 0, 10_000, 'milliseconds an incomplete batch waits for more samples'),
  MAX_QUEUE: wholeNumber(1000, 1, 1_000_000, 'samples that may wait in the queue; further requests get 503'),
  MAX_UPLOAD_MB: wholeNumber(20, 1, 1024, 'largest request body; 1 MB = 2^20 bytes'),
  MAX_PIXELS: wholeNumber(
    50_000_000,
    1,
    1_000_000_000,
    'largest image, width x height',
    '50000000; less where the memory of a process is under 1 GB',
  ),
  TOP_K: wholeNumber(5, 1, 100_000, 'number of predictions in a single-label result'),
  API_TOKEN: {
    default: '',
    shownDefault: 'none',
    range: 'ASCII without spaces',
    help: 'token that clients must send as Authorization: Bearer; the probes and the page need none',
    parse: (value: string) => (/^[!-~]+$/.test(value) ? value : undefined), // no header can carry anything else
    isSecret: true,
  },
  ALLOWED_HOSTS: hostNames(
    'Host headers to accept besides loopback names; if unset, a HOST that is not loopback accepts all',
  ),
  CORS_ORIGINS: originList('origins whose web pages may call the server; * for any origin'),
  LOG_LEVEL: oneOf('info', LOG_LEVELS, 'lowest level that is logged'),
  INFERENCE_THREADS: wholeNumber(
    0,
    0,
    1024,
    "ONNX Runtime's threads; 0 means one per core of the process, or a single one if the model runs in under 1 ms",
  ),
  PREPROCESS_THREADS: wholeNumber(
    CORES,
    1,
    1024,
    'threads that preprocess images, at most',
    'number of cores, shared by the processes',
  ),
  AIP_HEALTH_ROUTE: path('health route, set by Vertex AI'),
  AIP_PREDICT_ROUTE: path('predict route, set by Vertex AI'),
  REQUEST_TIMEOUT_MS: wholeNumber(
    30_000,
    1,
    3_600_000,
    'milliseconds for a request, from its header to its response; then 408 or 504',
  ),
  WEB_CONCURRENCY: wholeNumber(
    1,
    1,
    1024,
    'processes that share the port, each with its own copy of the model',
  ),
  DRAIN_MS: wholeNumber(
    0,
    0,
    3_600_000,
    'milliseconds after SIGTERM during which new connections are still accepted, with /readyz at 503',
  ),
  SHUTDOWN_MS: wholeNumber(
    10_000,
    0,
    3_600_000,
    'milliseconds that open requests get after that, before they are cut off',
  ),
}

export type Settings = { [Name in keyof typeof SETTINGS]: (typeof SETTINGS)[Name]['default'] }

/** The cores of each process. */
export function coresPerProcess({ WEB_CONCURRENCY }: Pick<Settings, 'WEB_CONCURRENCY'>): number {
  return Math.max(1, Math.floor(CORES / WEB_CONCURRENCY))
}

/** The memory of each process, in bytes. */
export function memoryPerProcess({ WEB_CONCURRENCY }: Pick<Settings, 'WEB_CONCURRENCY'>): number {
  return Math.floor(availableMemory() / WEB_CONCURRENCY)
}

/** MAX_UPLOAD_MB in bytes; 1 MB = 2^20 bytes. */
export function maxUploadBytes({ MAX_UPLOAD_MB }: Settings): number {
  return MAX_UPLOAD_MB * 2 ** 20
}

/**
 * @param env such as `process.env`; AIP_HTTP_PORT (Vertex AI) is used if PORT is unset
 * @param port the default of PORT, if it is another one
 * @throws StartError one line naming the variable, its value and the allowed values
 */
export function readSettings(
  env: Record<string, string | undefined>,
  port = SETTINGS.PORT.default,
): Settings {
  const entries = Object.entries(SETTINGS).map(([name, setting]) => {
    const given = (name === 'PORT' ? env.PORT?.trim() || env.AIP_HTTP_PORT : env[name])?.trim()
    if (!given) return [name, name === 'PORT' ? port : setting.default]
    const value = setting.parse(given)
    if (value === undefined) {
      const shown = 'isSecret' in setting ? '(not shown)' : given
      throw new StartError(`${name}=${shown}: expected ${setting.range}`)
    }
    return [name, value]
  })
  const settings: Settings = Object.fromEntries(entries)
  const { PREPROCESS_THREADS, MAX_PIXELS } = env
  if (!PREPROCESS_THREADS?.trim()) settings.PREPROCESS_THREADS = coresPerProcess(settings)
  const affordable = Math.floor(memoryPerProcess(settings) / BYTES_PER_PIXEL)
  if (!MAX_PIXELS?.trim()) settings.MAX_PIXELS = Math.min(settings.MAX_PIXELS, affordable)
  return settings
}
