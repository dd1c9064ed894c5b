/** The servers that bench/peers.ts compares: how to start each, its requests, and how to read its responses. */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { multipart, type Payload } from './load.ts'
import { scratchFolder } from './scratch.ts'

export const PEERS = fileURLToPath(new URL('peers', import.meta.url))
export const MODELS = fileURLToPath(new URL('models', import.meta.url))
const ROOT = fileURLToPath(new URL('..', import.meta.url))

/** The payload of a request: a tensor's bytes, or an image file. */
export type Kind = 'tensor' | 'image'

export interface Start {
  command: string
  args: string[]
  env?: Record<string, string>
  cwd?: string
}

export interface Contender {
  name: string
  /** its configuration, for the report */
  setUp: string
  /** Python environment, by the name of its requirements file; undefined: Node */
  environment?: string
  /** it uses the processor without requests, and is paused while others are measured */
  neverIdle?: true
  start(model: string, port: number): Start
  /** undefined if the server does not support it */
  request(kind: Kind, model: string): Payload | undefined
}

/** Whether this is another project's server, rather than ours or a bare Node server. */
export const isPeer = ({ environment }: Contender) => environment !== undefined

interface Prediction {
  label: string
  score: number
}

/** PyTorch's result for the model's input. */
export function expectedOf(model: string): Prediction {
  return JSON.parse(readFileSync(join(MODELS, model, 'expected.json'), 'utf8'))
}

const input = (kind: Kind, model: string) => readFileSync(join(MODELS, model, kind))
/** of one sample: channels, height, width */
export const dimsOf = (model: string) => (model === 'mnist' ? [1, 28, 28] : [3, 224, 224])

/** The form of the book: the tensor's bytes and their dims, or an image. */
function form(kind: Kind, model: string, path = '/predict'): Payload {
  const bytes = input(kind, model)
  if (kind === 'image') return multipart(path, { image: bytes })
  return multipart(path, { metadata: JSON.stringify({ dims: dimsOf(model) }), data: bytes })
}

/** Find the label and its score, wherever the protocol puts them. */
export function readPrediction(text: string): Prediction {
  const [result] = [JSON.parse(text)].flat()
  if (!result.outputs) return result
  const logits: number[] = result.outputs[0].data
  const best = Math.max(...logits)
  const sum = logits.reduce((total, logit) => total + Math.exp(logit - best), 0)
  return { label: String(logits.indexOf(best)), score: 1 / sum }
}

/** A program of a Python environment, which is created on first use. */
export function program(environment: string, name: string): string {
  const folder = join(PEERS, '.venvs', environment)
  if (!existsSync(join(folder, 'made'))) {
    console.log(`creating ${folder}`)
    execFileSync('python3', ['-m', 'venv', folder], { stdio: 'inherit' })
    const install = [
      'install',
      '--quiet',
      '--disable-pip-version-check',
      '-r',
      join(PEERS, `${environment}.txt`),
    ]
    execFileSync(join(folder, 'bin/pip'), install, { stdio: 'inherit' })
    writeFileSync(join(folder, 'made'), '')
  }
  return join(folder, 'bin', name)
}

function ours(
  name: string,
  setUp: string,
  env: Record<string, string>,
  request: Contender['request'],
): Contender {
  return {
    name,
    setUp,
    start: (model, port) => ({
      command: process.execPath,
      args: [join(ROOT, 'server.js')],
      env: { MODEL_DIR: join(MODELS, model), PORT: String(port), LOG_LEVEL: 'warn', ...env },
      cwd: ROOT,
    }),
    request,
  }
}

const raw: Contender['request'] = (kind, model) =>
  kind === 'tensor' ? { path: `/predict?dims=${dimsOf(model)}`, body: input(kind, model) } : undefined
const TWO = { WEB_CONCURRENCY: '2', INFERENCE_THREADS: '1', PREPROCESS_THREADS: '1' }

/** For two workers with one thread each: the fastest configuration of these servers on two cores. */
const ONE_THREAD = { THREADS: '1', OMP_NUM_THREADS: '1' }

export const CONTENDERS: Contender[] = [
  ours(
    'onnxpress',
    "one process, default settings, no log line per request (as for all servers here); the book's multipart form",
    {},
    form,
  ),
  ours('onnxpress, bytes', 'the same, with the bytes as the body', {}, raw),
  ours('onnxpress x 2', 'WEB_CONCURRENCY=2, one thread each; the form', TWO, form),
  ours('onnxpress x 2, bytes', 'the same, with the bytes as the body', TWO, raw),
  {
    name: 'Flask + PyTorch',
    setUp: "the book's form: TorchScript, Flask's own threaded server",
    environment: 'torch',
    start: (model, port) => ({
      command: program('torch', 'python'),
      args: ['flask_torch.py'],
      env: { MODEL: join(MODELS, model), PORT: String(port) },
    }),
    request: form,
  },
  {
    name: 'Flask + PyTorch, gunicorn',
    setUp: 'the same app on gunicorn, 2 workers with 4 threads, one PyTorch thread each',
    environment: 'torch',
    start: (model, port) => ({
      command: program('torch', 'gunicorn'),
      args: [
        'flask_torch:app',
        '-w',
        '2',
        '--threads',
        '4',
        '-b',
        `127.0.0.1:${port}`,
        '--log-level',
        'warning',
      ],
      env: { MODEL: join(MODELS, model), ...ONE_THREAD },
    }),
    request: form,
  },
  {
    name: 'FastAPI + ONNX Runtime',
    setUp: 'uvicorn with uvloop and httptools, 2 workers, one ONNX Runtime thread each',
    environment: 'fastapi',
    start: (model, port) => ({
      command: program('fastapi', 'uvicorn'),
      args: ['fastapi_onnx:app', '--port', String(port), '--workers', '2', '--log-level', 'warning'],
      env: { MODEL: join(MODELS, model), ...ONE_THREAD },
    }),
    request: (kind, model) => form(kind, model, kind === 'image' ? '/image' : '/predict'),
  },
  {
    name: 'LitServe + ONNX Runtime',
    setUp: 'batches of up to 32 (1 ms), 2 workers, one ONNX Runtime thread each',
    environment: 'litserve',
    neverIdle: true,
    start: (model, port) => ({
      command: program('litserve', 'python'),
      args: ['litserve_onnx.py'],
      env: { MODEL: join(MODELS, model), PORT: String(port), WORKERS: '2', ...ONE_THREAD },
    }),
    request: form,
  },
  {
    name: 'BentoML + ONNX Runtime',
    setUp: 'adaptive batches of up to 32, one worker, ONNX Runtime on all cores',
    environment: 'bentoml',
    start: (model, port) => ({
      command: program('bentoml', 'bentoml'),
      args: ['serve', 'bentoml_onnx:Classifier', '--port', String(port)],
      env: { MODEL: join(MODELS, model), BENTOML_DO_NOT_TRACK: 'true' },
    }),
    request: (kind, model) =>
      multipart(kind === 'image' ? '/image' : '/predict', {
        [kind === 'image' ? 'image' : 'data']: input(kind, model),
      }),
  },
  {
    name: 'TorchServe',
    setUp: 'TorchScript, 2 workers, batches of up to 8 (1 ms), one PyTorch thread each; Java 17',
    environment: 'torch',
    start: (model, port) => torchServe(model, port),
    request: (kind, model) => ({ path: '/predictions/classifier', body: input(kind, model) }),
  },
  {
    name: 'MLServer + ONNX Runtime',
    setUp: "V2's JSON tensors, adaptive batches of up to 32 (1 ms), ONNX Runtime on all cores",
    environment: 'mlserver',
    start: (model, port) => mlServer(model, port),
    request: (kind, model) => (kind === 'tensor' ? jsonTensor(model) : undefined),
  },
  {
    name: 'node:http + ONNX Runtime',
    setUp: 'a lower bound: 25 lines, the bytes as the body, no checks, no batches, no images',
    start: (model, port) => ({
      command: process.execPath,
      args: ['floor.mjs'],
      env: { MODEL: join(MODELS, model), PORT: String(port), DIMS: dimsOf(model).join() },
    }),
    request: (kind, model) => (kind === 'tensor' ? { path: '/', body: input(kind, model) } : undefined),
  },
]

function torchServe(model: string, port: number): Start {
  const folder = scratchFolder('torchserve')
  const file = (name: string) => join(MODELS, model, name)
  const archive = {
    'model-name': 'classifier',
    version: '1.0',
    'serialized-file': file('model.pt'),
    handler: join(PEERS, 'torchserve_handler.py'),
    'extra-files': `${file('preprocessor_config.json')},${join(PEERS, 'preprocessing.py')}`,
    'export-path': folder,
  }
  const args = Object.entries(archive).flatMap(([name, value]) => [`--${name}`, value])
  execFileSync(program('torch', 'torch-model-archiver'), args)
  const versionSettings = {
    defaultVersion: true,
    marName: 'classifier.mar',
    minWorkers: 2,
    maxWorkers: 2,
    batchSize: 8,
    maxBatchDelay: 1,
    responseTimeout: 120,
  }
  const lines = [
    `inference_address=http://127.0.0.1:${port}`,
    `management_address=http://127.0.0.1:${port + 1000}`,
    `metrics_address=http://127.0.0.1:${port + 2000}`,
    `grpc_inference_port=${port + 3000}`,
    `grpc_management_port=${port + 4000}`,
    'disable_token_authorization=true',
    'disable_system_metrics=true',
    'job_queue_size=1000',
    `model_store=${folder}`,
    'load_models=classifier.mar',
    `models=${JSON.stringify({ classifier: { '1.0': versionSettings } })}`,
  ]
  writeFileSync(join(folder, 'config.properties'), lines.join('\n'))
  // it finds Python and its own scripts on the PATH
  const bin = join(program('torch', 'torchserve'), '..')
  return {
    command: join(bin, 'torchserve'),
    args: ['--foreground', '--ncs', '--ts-config', join(folder, 'config.properties')],
    env: {
      PATH: `${bin}:${process.env.PATH}`,
      TMPDIR: folder,
      LOG_LOCATION: folder,
      METRICS_LOCATION: folder,
      ...ONE_THREAD,
    },
    cwd: folder,
  }
}

function mlServer(model: string, port: number): Start {
  const folder = scratchFolder('mlserver')
  const settings = {
    host: '127.0.0.1',
    http_port: port,
    grpc_port: port + 1000,
    metrics_port: port + 2000,
    parallel_workers: 0,
    debug: false,
  }
  const modelSettings = {
    name: 'classifier',
    implementation: 'mlserver_onnx.Classifier',
    max_batch_size: 32,
    max_batch_time: 0.001,
    parameters: { uri: join(MODELS, model) },
  }
  writeFileSync(join(folder, 'settings.json'), JSON.stringify(settings))
  writeFileSync(join(folder, 'model-settings.json'), JSON.stringify(modelSettings))
  return { command: program('mlserver', 'mlserver'), args: ['start', folder], env: { PYTHONPATH: PEERS } }
}

/** MLServer's REST API has no binary tensors. */
function jsonTensor(model: string): Payload {
  const bytes = input('tensor', model)
  const data = [...new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)]
  const tensor = { name: 'x', shape: [1, ...dimsOf(model)], datatype: 'FP32', data }
  return {
    path: '/v2/models/classifier/infer',
    contentType: 'application/json',
    body: Buffer.from(JSON.stringify({ inputs: [tensor] })),
  }
}
