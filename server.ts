#!/usr/bin/env node
/** onnxpress: one ONNX image classifier behind HTTP. createApp() declares every route; the last line starts the server. */
import express from 'express'
import { imageInput, postprocess, preprocess } from './handler.ts'
import { Admission } from './lib/http/admission.ts'
import { errorHandler, errorSender, notFound } from './lib/http/error_response.ts'
import type { AppInstance } from './lib/http/http_server.ts'
import { refuseWhenFull } from './lib/http/overload.ts'
import { addPage, PAGE_PATHS } from './lib/http/page.ts'
import { requestLog } from './lib/http/request_log.ts'
import { Routes } from './lib/http/routes.ts'
import { staticFile } from './lib/http/static_file.ts'
import { RequestError } from './lib/inference/errors.ts'
import { countSamples } from './lib/inference/tensor.ts'
import { createInputReader, topKOf } from './lib/input/read_input.ts'
import { modelJson } from './lib/model/description.ts'
import { checkResultSize } from './lib/model/predictions.ts'
import { type AppParts, runIfMain } from './lib/process/main.ts'
import { maxUploadBytes } from './lib/process/settings.ts'
import { allowedHosts } from './lib/security/allowed_hosts.ts'
import { bearerAuth } from './lib/security/bearer_auth.ts'
import { securityHeaders } from './lib/security/security_headers.ts'
import { loadModel } from './model.ts'
import { addClouds } from './protocols/clouds.ts'
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
  const { model, workers, settings, log, metrics, readMetrics, isReady } = parts
  const { MAX_QUEUE: maxQueue, MAX_PIXELS: maxPixels, AIP_HEALTH_ROUTE } = settings
  const maxBodyBytes = maxUploadBytes(settings)
  const { batchSize, outputSpec } = model
  const admission = new Admission({ queues: [workers, model], batchSize, maxQueue, maxBodyBytes, metrics })
  const admit: Service['admit'] = (work) => (ctx) => admission.run(ctx, work)
  const readInput = createInputReader({ spec: model.input, maxBodyBytes, threads: workers.threads })

  const classify: Service['classify'] = async (ctx, topK = settings.TOP_K, spec = outputSpec) => {
    const input = await readInput(ctx)
    const tensors = input.images ? await preprocess(input.images, model, workers, ctx) : [input.tensor]
    checkResultSize(countSamples(tensors), spec.labels.length, topK)
    const scores = await Promise.all(tensors.map((tensor) => model.predict(tensor, ctx)))
    return scores.flatMap((output, i) => postprocess(output, tensors[i], spec, topK))
  }

  const app = express().disable('x-powered-by').disable('etag')
  app.use(requestLog(log, metrics, settings.REQUEST_TIMEOUT_MS))
  app.use(securityHeaders)
  app.use(allowedHosts(settings.HOST, settings.ALLOWED_HOSTS, [AIP_HEALTH_ROUTE]))
  app.use(bearerAuth(settings.API_TOKEN, [AIP_HEALTH_ROUTE, ...PAGE_PATHS]))

  const routes = new Routes(app)
  const route = routes.of({ name: 'onnxpress', description: 'Its own routes.', error: 'Problem' })
  const predict = admit(async (ctx) => ctx.reply(await classify(ctx, topKOf(ctx, settings.TOP_K))))
  route('post put /predict', predict, {
    summary: 'Classify images or a tensor',
    body: 'input',
    query: 'tensor and top_k',
    response: 'results',
  })
  const label = admit(async (ctx) => ctx.replyText(await classify(ctx, 1)))
  route('post /test', label, {
    summary: 'The bare label of images or a tensor',
    body: 'input',
    query: 'tensor',
    response: 'text',
  })
  const show = admit(async (ctx) => {
    const { images } = await readInput(ctx)
    if (!images) throw new RequestError(415, 'a tensor is not preprocessed: send an image')
    if (ctx.req.accepts(['application/octet-stream', 'image/png']) !== 'image/png') {
      return ctx.replyTensors(await preprocess(images, model, workers, ctx))
    }
    if (images.length > 1)
      throw new RequestError(400, `${images.length} images, but a PNG shows one: send one`)
    const png = await workers.preview(images[0], imageInput(model), ctx.signal)
    ctx.res.type('image/png').send(Buffer.from(png))
  })
  route('post /preprocess', show, {
    summary: 'What the model would see of images: its tensor, or a picture',
    body: 'input',
    response: 'tensor or image',
  })
  const info = modelJson(model, { maxUploadBytes: maxBodyBytes, maxPixels, maxQueue })
  route('get /model', ({ res }) => res.json(info), { summary: 'What is served', response: 'model' })
  const noSample = () => {
    throw new RequestError(404, `the folder of ${model.name} has no sample image`)
  }
  route('get /model/sample', model.samplePath ? staticFile(model.samplePath) : noSample, {
    summary: 'An example image',
    response: 'image',
    errors: model.samplePath ? [] : [404],
  })
  route('get /livez', ({ res }) => res.json({ status: 'alive' }), {
    summary: 'Whether the process is alive',
    response: 'status',
    isOpen: true,
  })
  const ready = () => {
    if (isReady()) return { status: 'ready' }
    throw new RequestError(503, 'the server is stopping, or its model is being loaded again')
  }
  route('get /readyz', ({ res }) => res.json(ready()), {
    summary: 'Whether requests are answered',
    response: 'status',
    errors: [503],
    isOpen: true,
  })
  metrics.setModel(model, () => workers.waiting + model.waiting, isReady)
  const version = 'text/plain; version=0.0.4'
  route('get /metrics', async ({ res }) => res.type(version).send(await readMetrics()), {
    summary: "Metrics in Prometheus' text format",
    response: 'text',
  })
  addPage(route)

  const service: Service = { model, settings, threads: workers.threads, routes, isReady, admit, classify }
  addTorchServe(service)
  addTfServing(service)
  addOpenInference(service)
  addOpenApi(service)
  addClouds(service, predict)

  app.use(notFound)
  app.use(errorHandler(log, sendError))
  return { express: app, listener: refuseWhenFull(app, admission, sendError, log, metrics) }
}

await runIfMain(import.meta.filename, { loadModel, createApp })
