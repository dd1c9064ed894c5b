/** From a model's name on the Hugging Face Hub to a folder that can be served. */
import { StartError } from '../inference/errors.ts'
import { download } from './download.ts'
import { readHubEnvironment } from './environment.ts'
import { HubClient } from './hub_client.ts'
import { Progress } from './progress.ts'
import { parseHubReference } from './reference.ts'
import { RepoCache, type RepoFile, sizeOf } from './repo_cache.ts'
import { missingGraph, servingFiles } from './serving_files.ts'

export interface FetchOptions {
  /** path of the graph in the repository; '' for the default ones */
  file: string
  env: Record<string, string | undefined>
  /** called with lines about the download */
  say: (line: string) => void
  /** called with each assumption */
  note: (message: string) => void
}

/** The files of a commit, all or those in the cache. */
interface Listing<File = { path: string; size: number }> {
  commit: string
  files: File[]
}

/**
 * Download what serving a model needs, unless it is in the cache.
 *
 * The Hub says which commit a branch or a tag is. If it cannot be reached, the commit in the cache is used.
 *
 * @param reference `hf://owner/model[@revision]`
 * @returns the folder of its commit, with all files complete
 * @throws StartError one line: what the Hub answered, or which file is missing
 */
export async function fetchModel(reference: string, options: FetchOptions): Promise<string> {
  const { file: graph, env, say, note } = options
  const parsed = parseHubReference(reference)
  const { repo, revision } = parsed
  const hub = readHubEnvironment(env)
  const cache = new RepoCache(hub.cacheDir, repo)
  const client = new HubClient(hub, parsed)

  function fromCache(): Listing | undefined {
    const commit = cache.commitOf(revision)
    if (!commit) return undefined
    const files = cache.filesOf(commit)
    const listing = { commit, files: files ?? cache.cachedFilesOf(commit) }
    if (!isComplete(listing)) return undefined
    if (!files) note(`the cache lists no files of ${repo}: those in it are assumed to be complete`)
    return listing
  }
  function isComplete({ commit, files }: Listing): boolean {
    const wanted = servingFiles(files, graph)
    return wanted.length > 0 && wanted.every((file) => cache.has(commit, file))
  }

  async function fromHub(): Promise<Listing<RepoFile>> {
    const commit = await client.readCommit()
    const cached = cache.filesOf(commit)
    if (cached) return { commit, files: cached }
    const files = await client.listFiles(commit)
    await cache.setFiles(commit, files)
    return { commit, files }
  }

  async function fetchMissing({ commit, files }: Listing<RepoFile>): Promise<void> {
    const wanted = servingFiles(files, graph)
    if (wanted.length === 0) throw missingGraph(files, repo, graph)
    const missing = wanted.filter((file) => !cache.has(commit, file))
    const absent = missing.filter((file) => sizeOf(cache.blobOf(file)) !== file.size)
    const total = absent.reduce((sum, { size }) => sum + size, 0)
    const label = `downloading ${repo} from ${client.host}`
    const progress = absent.length > 0 ? new Progress(label, total, say) : undefined
    for (const file of missing) {
      const blob = cache.blobOf(file)
      if (progress && absent.includes(file)) await download(file, blob, client.opener(commit), progress)
      await cache.addToSnapshot(commit, file)
    }
    progress?.end()
    await cache.setCommit(revision, commit)
  }

  if (hub.isOffline) {
    const listing = fromCache()
    if (listing) return cache.snapshotOf(listing.commit)
    throw new StartError(
      `${repo}: it is not complete in ${hub.cacheDir}, and HF_HUB_OFFLINE is set: unset it once`,
    )
  }
  // a commit never changes: there is nothing to ask the Hub
  const pinned = cache.commitOf(revision) === revision ? fromCache() : undefined
  if (pinned) return cache.snapshotOf(pinned.commit)
  try {
    const listing = await fromHub()
    await fetchMissing(listing)
    return cache.snapshotOf(listing.commit)
  } catch (error) {
    const reason = client.explain(error)
    const listing = error instanceof StartError ? undefined : fromCache()
    if (!listing) throw reason
    note(`${reason.message}; the commit in the cache is served, ${listing.commit}`)
    return cache.snapshotOf(listing.commit)
  }
}
