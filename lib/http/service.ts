/** What the routes of other protocols share with our own: the model, and the one path through it. */
import type { Request, Response } from 'express'
import type { ModelDescription } from '../inference/description.ts'
import type { Answer, Result } from '../inference/output_spec.ts'
import type { AnyTensor } from '../inference/tensor.ts'
import type { Settings } from '../process/settings.ts'
import type { ThreadPool } from '../workers/thread_pool.ts'

export interface Service {
  model: ModelDescription & {
    /** samples that wait for a batch */
    readonly waiting: number
  }
  settings: Settings
  threads: ThreadPool
  /** says no while the process is stopping */
  isReady(): boolean
  /**
   * Read the request's inputs, preprocess, run and postprocess them.
   *
   * @param answer other than the model's own, if labels are to be called otherwise
   * @returns one result per sample, in order
   * @throws RequestError
   */
  predict(req: Request, res: Response, topK: number, answer?: Answer): Promise<Result[]>
  /** Do a request's work, if there is room for it and until its time is up, see `Admission.attend`. */
  attend<T>(req: Request, res: Response, work: () => Promise<T>): Promise<T>
  /** The named outputs for tensors that fit the model's inputs, see `Model.infer`; within `attend`. */
  infer(res: Response, inputs: AnyTensor[], outputs: readonly string[]): Promise<AnyTensor[]>
}
