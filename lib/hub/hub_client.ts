/** The Hub, by the parts of @huggingface/hub that need neither its cache nor its console output. */
import type { HubApiError } from '@huggingface/hub'
import { messageOf, StartError } from '../inference/errors.ts'
import type { OpenFile } from './download.ts'
import type { HubEnvironment } from './environment.ts'
import type { HubReference } from './reference.ts'
import { COMMIT, type RepoFile } from './repo_cache.ts'

/** Longest wait for a listing: a server must not hang at startup because the network does. */
const TIMEOUT_MS = 10_000

// loaded on first use: it takes a tenth of a second, which a local folder does not need
const library = () => import('@huggingface/hub')

export class HubClient {
  readonly #hub: HubEnvironment
  readonly #reference: HubReference

  constructor(hub: HubEnvironment, reference: HubReference) {
    this.#hub = hub
    this.#reference = reference
  }

  /** The host, as messages name it. */
  get host(): string {
    return new URL(this.#hub.endpoint).host
  }

  /** The parameters of every call. */
  #params(signal: AbortSignal) {
    const { endpoint: hubUrl, token: accessToken } = this.#hub
    const fetchWithSignal: typeof fetch = (url, init) => fetch(url, { ...init, signal })
    return {
      repo: this.#reference.repo,
      hubUrl,
      fetch: fetchWithSignal,
      ...(accessToken ? { accessToken } : {}),
    }
  }

  /** The commit of the revision. */
  async readCommit(): Promise<string> {
    const { modelInfo } = await library()
    const { repo: name, revision } = this.#reference
    const params = this.#params(AbortSignal.timeout(TIMEOUT_MS))
    const { sha } = await modelInfo({ ...params, name, revision, additionalFields: ['sha'] })
    if (!COMMIT.test(sha)) throw new Error(`${this.host} responded with ${sha} as the commit of ${name}`)
    return sha
  }

  /** All files of a commit. */
  async listFiles(commit: string): Promise<RepoFile[]> {
    const { listFiles } = await library()
    const params = this.#params(AbortSignal.timeout(TIMEOUT_MS))
    const files: RepoFile[] = []
    for await (const entry of listFiles({ ...params, revision: commit, recursive: true })) {
      const { type, path, size, oid, lfs, xetHash } = entry
      if (type === 'file' && oid)
        files.push({ path, size: lfs?.size ?? size, gitSha1: oid, sha256: lfs?.oid, xetHash })
    }
    return files
  }

  /** Opens files of a commit. */
  opener(commit: string): OpenFile {
    return async (path, from, signal) => {
      const { downloadFile } = await library()
      // plain HTTP, which can resume at any byte; every file is available that way
      const blob = await downloadFile({ ...this.#params(signal), path, revision: commit, xet: false })
      if (!blob) throw new StartError(`${this.host} lists ${path}, but does not have it: start again`)
      return blob.slice(from, blob.size).stream()
    }
  }

  /** The one line that an operator needs. */
  explain(error: unknown): StartError {
    if (error instanceof StartError) return error
    const { repo, revision } = this.#reference
    const { statusCode, data } = Object(error) as Partial<HubApiError>
    const say = (text: string) => new StartError(`${repo}: ${text}`)
    if (statusCode === 404 && /revision|rev id/i.test(JSON.stringify(data ?? ''))) {
      return say(`${this.host} has no revision ${revision} of it: name a branch, a tag or a commit`)
    }
    if (statusCode === 401 || statusCode === 404) {
      const hint = this.#hub.token ? 'whether HF_TOKEN may read it' : 'set HF_TOKEN if it is private or gated'
      return say(
        `there is no such folder here, and no such model on ${this.host}: check the name, and ${hint}`,
      )
    }
    if (statusCode === 403) {
      const page = `${this.#hub.endpoint}/${repo}`
      return say(`${this.host} does not let you read it: ask for access at ${page}, and set HF_TOKEN`)
    }
    if ('syscall' in Object(error)) return say(`the cache cannot be written: ${messageOf(error)}`)
    if (statusCode !== undefined) return say(`${this.host} responded with ${statusCode}: try again later`)
    const hint = ignoresProxy() ? '; Node 24 uses HTTPS_PROXY only with NODE_USE_ENV_PROXY=1' : ''
    return say(
      `${this.host} cannot be reached (${networkCause(error)}): check the network, or HF_ENDPOINT${hint}`,
    )
  }
}

function ignoresProxy(): boolean {
  const { HTTPS_PROXY, https_proxy: lowerCase, NODE_USE_ENV_PROXY } = process.env
  return Boolean(HTTPS_PROXY || lowerCase) && !NODE_USE_ENV_PROXY
}

/** fetch's errors say "fetch failed"; their cause says why. */
function networkCause(error: unknown): string {
  const { cause } = Object(error) as { cause?: { code?: string } }
  return cause?.code ?? messageOf(cause ?? error)
}
