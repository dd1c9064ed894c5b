/** Downloads one file into the cache: resumed where an earlier attempt ended, checked against its hash, then renamed. */
import { createHash, type Hash } from 'node:crypto'
import { createReadStream, existsSync, readdirSync, renameSync, statSync } from 'node:fs'
import { mkdir, open, rename, rm } from 'node:fs/promises'
import { hostname } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { HubApiError } from '@huggingface/hub'
import { StartError } from '../inference/errors.ts'
import type { Progress } from './progress.ts'
import type { RepoFile } from './repo_cache.ts'

/** Most failed attempts in a row that bring no new bytes. */
const ATTEMPTS = 5
/** Pause before the second attempt; it doubles each time. */
const RETRY_MS = 100
/** A connection that brings nothing for so long is given up. */
const STALL_MS = 20_000
/** A partial file of another machine is abandoned when it has not grown for so long. */
const ABANDONED_MS = 10 * 60_000

/** Opens a file from a byte on. */
export type OpenFile = (
  path: string,
  from: number,
  signal: AbortSignal,
) => Promise<ReadableStream<Uint8Array>>

/**
 * @param blob where the file goes; nothing is there before all its bytes are, and have their hash
 * @throws StartError for bytes of another hash; what `open` throws after several attempts
 */
export async function download(
  file: RepoFile,
  blob: string,
  openFile: OpenFile,
  progress: Progress,
): Promise<void> {
  await mkdir(dirname(blob), { recursive: true })
  const partial = `${blob}.${hostname()}.${process.pid}.incomplete`
  const isResumed = claimAbandoned(blob, partial)
  const received = await receive(file, partial, openFile, progress)
  if (received === (file.sha256 ?? file.gitSha1)) return rename(partial, blob)
  progress.add(-statSync(partial).size)
  await rm(partial)
  // the bytes of the earlier attempt may be the wrong ones
  if (isResumed) return download(file, blob, openFile, progress)
  const kind = file.sha256 ? 'SHA-256' : 'Git hash'
  throw new StartError(
    `${file.path} arrived damaged: its ${kind} is ${received}, expected ${file.sha256 ?? file.gitSha1}: start again`,
  )
}

/** Take over what an ended process has left of this file. Renaming is atomic: only one process gets it. */
function claimAbandoned(blob: string, partial: string): boolean {
  for (const name of readdirSync(dirname(blob))) {
    const owner =
      name.startsWith(`${basename(blob)}.`) && /\.(?<host>.+)\.(?<pid>\d+)\.incomplete$/.exec(name)
    const path = join(dirname(blob), name)
    if (!owner || path === partial || !isAbandoned(path, owner.groups!.host, Number(owner.groups!.pid)))
      continue
    try {
      renameSync(path, partial)
      return true
    } catch {
      // another process was faster
    }
  }
  return existsSync(partial)
}

function isAbandoned(path: string, host: string, pid: number): boolean {
  if (host !== hostname())
    return Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0) > ABANDONED_MS
  try {
    process.kill(pid, 0)
    return false
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ESRCH'
  }
}

/** @returns the hash of all bytes, in hex */
async function receive(
  file: RepoFile,
  partial: string,
  openFile: OpenFile,
  progress: Progress,
): Promise<string> {
  const hash = hashOf(file)
  const output = await open(partial, 'a+')
  try {
    let size = 0
    for await (const chunk of createReadStream(partial)) {
      hash.update(chunk)
      size += chunk.length
    }
    progress.resume(size)
    for (let attempt = 1; size < file.size; attempt++) {
      const sizeBefore = size
      try {
        for await (const chunk of unstalled(openFile, file.path, size)) {
          await output.appendFile(chunk)
          hash.update(chunk)
          size += chunk.length
          progress.add(chunk.length)
          if (size > file.size) break // it does not end where it should
        }
        if (size === sizeBefore) throw new Error('the connection was closed')
      } catch (error) {
        if (size > sizeBefore) attempt = 1
        if (attempt === ATTEMPTS || isRefusal(error)) throw error
        await output.truncate(size) // a chunk may have been written in part
        await sleep(RETRY_MS * 2 ** attempt)
      }
    }
    await output.sync()
    // another container may have the same host name and process id
    const { size: written } = await output.stat()
    if (written !== size) return `that of ${written} bytes`
  } finally {
    await output.close()
  }
  return hash.digest('hex')
}

/** Git hashes a header with the bytes. */
function hashOf({ size, sha256 }: RepoFile): Hash {
  return sha256 ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`)
}

/** A file's bytes, or an error if the connection stalls. */
async function* unstalled(openFile: OpenFile, path: string, from: number): AsyncIterable<Uint8Array> {
  const controller = new AbortController()
  const timer = setTimeout(
    () => controller.abort(new Error(`no bytes arrived for ${STALL_MS / 1000} seconds`)),
    STALL_MS,
  )
  try {
    for await (const chunk of await openFile(path, from, controller.signal)) {
      timer.refresh()
      yield chunk
    }
  } finally {
    clearTimeout(timer)
  }
}

/** Whether another attempt would get the same answer: 401, 403, 404. */
function isRefusal(error: unknown): boolean {
  const { statusCode } = Object(error) as Partial<HubApiError>
  return statusCode !== undefined && statusCode < 500 && ![408, 429].includes(statusCode)
}
