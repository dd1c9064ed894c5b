/**
 * One repository in the cache of Python's huggingface_hub, which both libraries can use at the same time:
 *
 *     models--owner--model/
 *       refs/main               the commit of a branch or a tag
 *       trees/COMMIT.json       the files of a commit, with their sizes and hashes
 *       blobs/HASH              the files' bytes
 *       snapshots/COMMIT/...    links to them, by their names
 */
import { randomUUID } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { link, mkdir, rename, symlink } from 'node:fs/promises'
import { dirname, join, relative } from 'node:path'
import { StartError } from '../inference/errors.ts'

/** A file of a commit. */
export interface RepoFile {
  path: string
  /** in bytes */
  size: number
  /** Git's SHA-1; of a large file only that of its pointer */
  gitSha1: string
  /** of a large file's bytes */
  sha256?: string
  /** of Hugging Face's storage; kept for Python */
  xetHash?: string
}

/** As huggingface_hub (2.4) writes it, in _tree_cache.py. */
interface Tree {
  format_version: 1
  files: Record<
    string,
    { size: number; blob_id: string; lfs_sha256?: string; lfs_size?: number; xet_hash?: string }
  >
}

export const COMMIT = /^[0-9a-f]{40}$/

export class RepoCache {
  readonly #folder: string

  /** @param repo owner/model */
  constructor(cacheDir: string, repo: string) {
    this.#folder = join(cacheDir, `models--${repo.replace('/', '--')}`)
  }

  /** The folder of a commit's files. */
  snapshotOf(commit: string): string {
    return join(this.#folder, 'snapshots', commit)
  }

  /** Where a file's bytes are kept. */
  blobOf({ path, sha256, gitSha1 }: RepoFile): string {
    const hash = sha256 ?? gitSha1
    if (/^[0-9a-f]{40,64}$/.test(hash)) return join(this.#folder, 'blobs', hash)
    throw new StartError(
      `${path}: the Hub lists it with the hash ${JSON.stringify(hash).slice(0, 80)}, expected hexadecimal digits`,
    )
  }

  /** The commit that a revision pointed to when it was last downloaded. */
  commitOf(revision: string): string | undefined {
    if (COMMIT.test(revision)) return existsSync(this.snapshotOf(revision)) ? revision : undefined
    const commit = readText(join(this.#folder, 'refs', revision))?.trim()
    return commit && COMMIT.test(commit) ? commit : undefined
  }

  async setCommit(revision: string, commit: string): Promise<void> {
    if (COMMIT.test(revision) || this.commitOf(revision) === commit) return
    const path = join(this.#folder, 'refs', revision)
    await mkdir(dirname(path), { recursive: true })
    replaceFile(path, commit)
  }

  /** All files of a commit, whether they are in the cache or not; undefined if they were never listed. */
  filesOf(commit: string): RepoFile[] | undefined {
    try {
      const { format_version, files }: Tree = JSON.parse(readFileSync(this.#treeOf(commit), 'utf8'))
      if (format_version !== 1) return undefined
      return Object.entries(files).map(([path, { size, blob_id, lfs_sha256, lfs_size, xet_hash }]) => ({
        path,
        size: lfs_size ?? size,
        gitSha1: blob_id,
        sha256: lfs_sha256,
        xetHash: xet_hash,
      }))
    } catch {
      return undefined
    }
  }

  async setFiles(commit: string, files: RepoFile[]): Promise<void> {
    const entries = files.map(({ path, size, gitSha1, sha256, xetHash }) => {
      const large = sha256 && { lfs_sha256: sha256, lfs_size: size }
      return [path, { size, blob_id: gitSha1, ...large, ...(xetHash && { xet_hash: xetHash }) }] as const
    })
    const tree: Tree = { format_version: 1, files: Object.fromEntries(entries) }
    await mkdir(dirname(this.#treeOf(commit)), { recursive: true })
    replaceFile(this.#treeOf(commit), JSON.stringify(tree, null, 1))
  }

  #treeOf(commit: string): string {
    return join(this.#folder, 'trees', `${commit}.json`)
  }

  /** The files of a commit that are in the cache. */
  cachedFilesOf(commit: string): { path: string; size: number }[] {
    const snapshot = this.snapshotOf(commit)
    const names = existsSync(snapshot) ? (readdirSync(snapshot, { recursive: true }) as string[]) : []
    return names
      .map((name) => ({ path: name.replaceAll('\\', '/'), size: sizeOf(join(snapshot, name)) ?? -1 }))
      .filter(({ size }) => size >= 0)
  }

  /** Whether a commit's file is in the cache, at its full length. */
  has(commit: string, { path, size }: { path: string; size: number }): boolean {
    return sizeOf(join(this.snapshotOf(commit), path)) === size
  }

  /** Link a file's bytes to their name in a commit. Another process may be reading that file, so it is never missing. */
  async addToSnapshot(commit: string, file: RepoFile): Promise<void> {
    const path = join(this.snapshotOf(commit), file.path)
    const blob = this.blobOf(file)
    const temporary = temporaryName(path)
    await mkdir(dirname(path), { recursive: true })
    // Windows lets only developers create symbolic links
    await symlink(relative(dirname(path), blob), temporary).catch(() => link(blob, temporary))
    await rename(temporary, path)
  }
}

/** The size of a file, following links; undefined if it is not a file. */
export function sizeOf(path: string): number | undefined {
  const stats = statSync(path, { throwIfNoEntry: false })
  return stats?.isFile() ? stats.size : undefined
}

function readText(path: string): string | undefined {
  return sizeOf(path) === undefined ? undefined : readFileSync(path, 'utf8')
}

/** Process ids do not differ between containers that share the cache. */
function temporaryName(path: string): string {
  return `${path}.${randomUUID()}.tmp`
}

/** Readers see the old text or the new one, never a part. */
function replaceFile(path: string, text: string): void {
  const temporary = temporaryName(path)
  writeFileSync(temporary, text)
  renameSync(temporary, path)
}
