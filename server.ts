#!/usr/bin/env node
/** onnxpress: one ONNX image classifier over HTTP. createApp() declares every route; the last line starts the server. */
import express from 'express'
import { postprocess, preprocess, preview, tensorBytes } from './handler.ts'
import { Admission } from './lib/http/admission.ts'
import { errorHandler, errorSender, notFound } from './lib/http/error_response.ts'
import type { AppInstance } from './lib/http/http_server.ts'
import { refuseWhenFull } from './lib/http/overload.ts'
import { addPage, addSamples, PAGE_PATHS } from './lib/http/page.ts'
import { requestLog } from './lib/http/request_log.ts'
import { type AddRoute, type Handler, Routes } from './lib/http/routes.ts'
import { RequestError } from './lib/inference/errors.ts'
import { countSamples } from './lib/inference/tensor.ts'
import { createInputReader } from './lib/input/read_input.ts'
import { modelJson } from './lib/model/description.ts'
import { checkResultSize } from './lib/model/predictions.ts'
import { type AppParts, runIfMain } from './lib/process/main.ts'
import { maxUploadBytes } from './lib/process/settings.ts'
import { allowedHosts } from './lib/security/allowed_hosts.ts'
import { bearerAuth, PROBES } from './lib/security/bearer_auth.ts'
import { crossOrigin } from './lib/security/cross_origin.ts'
import { securityHeaders } from './lib/security/security_headers.ts'
import { loadModel } from './model.ts'
import { addClouds } from './protocols/clouds.ts'
import { addHuggingFace } from './protocols/hugging_face.ts'
import { addOpenInference, openInferenceError } from './protocols/open_inference/routes.ts'
import { addOpenApi } from './protocols/openapi/routes.ts'
import type { Service } from './protocols/service.ts'
import { addTfServing, tfServingError } from './protocols/tf_serving.ts'
import { addTorchServe, torchServeError } from './protocols/torchserve.ts'

const sendError = errorSender({
  '/predictions': torchServeError,
  '/models': torchServeError,
  '/v1': tfServingError,
  '/v2': openInferenceError,
})

export function createApp(parts: AppParts): AppInstance {
  const { model, workers, settings, log, metrics, isReady } = parts
  const maxBodyBytes = maxUploadBytes(settings)
  const { batchSize, outputSpec } = model
  const { MAX_QUEUE: maxQueue, TOP_K, AIP_HEALTH_ROUTE } = settings
  const cors = crossOrigin(settings.CORS_ORIGINS)
  const limits = { batchSize, maxQueue, maxBodyBytes, tensorBytes: tensorBytes(model) }
  const admission = new Admission({ queues: [workers, model], metrics, ...limits })
  const admit: Service['admit'] = (work) => (ctx) => admission.run(ctx, work)
  const readInput = createInputReader(model.input, maxBodyBytes, workers.threads)

  const readTensors: Service['readTensors'] = async (ctx) => {
    const input = await readInput(ctx)
    const tensors = input.images ? await preprocess(input.images, model, workers, ctx) : [input.tensor]
    return { tensors, input }
  }
  const predict: Service['predict'] = async (tensors, ctx, options = {}, spec = outputSpec) => {
    const { topK = TOP_K, scoreFunction = spec.scoreFunction } = options
    checkResultSize(countSamples(tensors), spec.labels.length, topK)
    const scores = await Promise.all(tensors.map((tensor) => model.predict(tensor, ctx)))
    return scores.flatMap((output, i) => postprocess(output, tensors[i], { ...spec, scoreFunction }, topK))
  }
  const classify: Service['classify'] = async (ctx, spec) => {
    const { tensors, input } = await readTensors(ctx)
    return predict(tensors, ctx, input.options, spec)
  }
  const sendResults = admit(async (ctx) => ctx.reply(await classify(ctx)))
  const sendLabel = admit(async (ctx) => ctx.replyText(await classify(ctx)))
  const sendModelInput = admit(async (ctx) => {
    const { images } = await readInput(ctx)
    if (!images) throw new RequestError(415, 'a tensor needs no preprocessing: send an image')
    if (ctx.prefersPng()) return ctx.replyPng(await preview(images, model, workers, ctx))
    ctx.replyTensors(await preprocess(images, model, workers, ctx))
  })

  const app = express().disable('x-powered-by').disable('etag')
  const probes = [...PROBES, AIP_HEALTH_ROUTE]
  app.use(requestLog(log, metrics, settings.REQUEST_TIMEOUT_MS, probes), securityHeaders, cors)
  app.use(allowedHosts(settings, probes))
  app.use(bearerAuth(settings.API_TOKEN, [...probes, ...PAGE_PATHS]))

  const routes = new Routes(app)
  const route = routes.of({ name: 'onnxpress', description: "This server's own routes.", error: 'Problem' })
  route('post put /predict', sendResults, {
    summary: 'Classify an image or a tensor',
    description:
      'Also accepts the bodies of /test, /v1 and /predictions. With `Accept: text/plain`, the response is the label alone.',
    body: 'input',
    takesTopK: true,
    response: 'result',
  })
  const bare = 'The label alone, for a tensor or an image'
  route('post /test', sendLabel, { summary: bare, body: 'tensor', response: 'text' })
  const summary = 'The tensor that the model would see, or a picture of it'
  route('post /preprocess', sendModelInput, { summary, body: 'input', response: 'tensor or image' })
  addInfoRoutes(parts, route)
  addPage(route)

  const verbs = { admit, readTensors, predict, classify }
  const service: Service = { model, settings, threads: workers.threads, routes, isReady, ...verbs }
  addProtocols(service, sendResults)

  app.use(routes.checkMethod)
  app.use(notFound)
  app.use(errorHandler(log, sendError))
  return { express: app, listener: refuseWhenFull(app, cors, admission, sendError, log, metrics) }
}

/** The routes that clients of other servers know. */
function addProtocols(service: Service, sendResults: Handler): void {
  addTorchServe(service)
  addTfServing(service)
  addHuggingFace(service)
  addOpenInference(service)
  addOpenApi(service)
  addClouds(service, sendResults)
}

/** The model, its samples, the probes and the metrics. */
function addInfoRoutes(
  { model, workers, settings, metrics, readMetrics, isReady }: AppParts,
  route: AddRoute,
): void {
  const { MAX_PIXELS: maxPixels, MAX_QUEUE: maxQueue } = settings
  const info = modelJson(model, { maxUploadBytes: maxUploadBytes(settings), maxPixels, maxQueue })
  route('get /model', ({ res }) => res.json(info), { summary: 'The model that is served', response: 'model' })

  addSamples(model, route)
  const sendAlive: Handler = ({ res }) => res.json({ status: 'alive' })
  const sendReadiness: Handler = ({ res }) => {
    if (!isReady()) throw new RequestError(503, 'the server is stopping, or its model is being loaded again')
    res.json({ status: 'ready' })
  }
  const probe = { response: 'status', isOpen: true } as const
  route('get /livez', sendAlive, { ...probe, summary: 'Whether the process is alive' })
  const summary = 'Whether the server is ready for requests'
  route('get /readyz', sendReadiness, { ...probe, summary, errors: [503] })

  metrics.setModel(model, () => workers.waiting + model.waiting, isReady)
  const sendMetrics: Handler = async (ctx) =>
    ctx.res.type('text/plain; version=0.0.4').send(await ctx.wait(readMetrics()))
  route('get /metrics', sendMetrics, { summary: 'Metrics in Prometheus text format', response: 'text' })
}

await runIfMain(import.meta.filename, { loadModel, createApp })
