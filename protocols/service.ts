/** What other protocols' routes share with our own: the model, and the steps of a prediction. */
import type { AdmittedContext } from '../lib/http/admission.ts'
import type { RequestContext } from '../lib/http/context.ts'
import type { Handler, Routes } from '../lib/http/routes.ts'
import { RequestError } from '../lib/inference/errors.ts'
import type { Tensor } from '../lib/inference/tensor.ts'
import type { Input, ResultOptions } from '../lib/input/input.ts'
import type { Model } from '../lib/model/model_info.ts'
import type { OutputSpec } from '../lib/model/output_spec.ts'
import type { Result } from '../lib/model/predictions.ts'
import type { Settings } from '../lib/process/settings.ts'
import type { ThreadPool } from '../lib/workers/thread_pool.ts'

export interface Service {
  model: Model
  settings: Settings
  /** for work that must not block the event loop */
  threads: ThreadPool
  routes: Routes
  /** whether requests should be sent to this process */
  isReady(): boolean
  /** A handler whose work waits for admission, see `Admission.run`. */
  admit(work: (ctx: AdmittedContext) => Promise<void>): Handler
  /** Read the request's input, and preprocess its images: tensors for the model, [n, ...]. */
  readTensors(ctx: AdmittedContext): Promise<{ tensors: Tensor[]; input: Input }>
  /**
   * Run them and postprocess the scores.
   *
   * @param options of the input
   * @param spec instead of the model's own, to name labels differently
   * @returns one result per sample, in order
   */
  predict(
    tensors: Tensor[],
    ctx: AdmittedContext,
    options?: ResultOptions,
    spec?: OutputSpec,
  ): Promise<Result[]>
  /** `readTensors`, then `predict`. */
  classify(ctx: AdmittedContext, spec?: OutputSpec): Promise<Result[]>
}

/** Respond as KServe does: 503 where this process should get no requests. @param name of the model */
export function sendReadiness({ res }: RequestContext, { isReady }: Service, name?: string): void {
  const ready = isReady()
  res.status(ready ? 200 : 503).json({ name, ready })
}

/**
 * A handler for requests that name the model, and perhaps its version, in their path.
 *
 * @param anyVersion a version that stands for the one that is served
 * @returns a handler that throws RequestError 404 for any other model or version
 */
export function ofModel({ model }: Service, handler: Handler, anyVersion?: string): Handler {
  return (ctx) => {
    const { model: name, version } = ctx.req.params
    if (name !== model.name)
      throw new RequestError(404, `model ${name} is not found: this server has ${model.name}`)
    if (version === undefined || version === model.version || version === anyVersion) return handler(ctx)
    throw new RequestError(
      404,
      `version ${version} of ${name} is not found: this server has ${model.version}`,
    )
  }
}
