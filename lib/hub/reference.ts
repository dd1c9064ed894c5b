/** Names of models on the Hugging Face Hub: `hf://owner/model`, with `@revision` for a branch, a tag or a commit. */
import { StartError } from '../inference/errors.ts'

export interface HubReference {
  /** owner/model */
  repo: string
  /** a branch, a tag or a commit */
  revision: string
}

const SCHEME = 'hf://'
const NAME = /^(?<repo>\w[\w.-]*\/\w[\w.-]*)(@(?<revision>\w[\w.-]*(\/[\w.-]+)*))?$/

export function isHubReference(modelDir: string): boolean {
  return modelDir.startsWith(SCHEME)
}

/** Turn `owner/model[@revision]` into a reference. */
export function toHubReference(name: string): string | undefined {
  return NAME.test(name) ? SCHEME + name : undefined
}

/** @throws StartError */
export function parseHubReference(reference: string): HubReference {
  const { repo, revision = 'main' } = NAME.exec(reference.slice(SCHEME.length))?.groups ?? {}
  if (repo && !revision.split('/').includes('..')) return { repo, revision }
  throw new StartError(`MODEL_DIR=${reference}: expected hf://owner/model or hf://owner/model@revision`)
}
