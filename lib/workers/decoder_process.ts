/**
 * A process that decodes the images that our own decoders do not support. libvips cannot be interrupted, and a file may be
 * crafted to keep it busy, exhaust its memory or crash it: here that costs one image, not the server.
 */
import { setPriority } from 'node:os'
import { messageOf, RequestError } from '../inference/errors.ts'
import { type ImageResult, type ImageTask, runGeneral } from './image_task.ts'

export type ToDecoder = ImageTask & { isLargeAllowed: boolean }

export type FromDecoder =
  | { result: ImageResult | undefined }
  | { status: number; detail: string; isLast?: true }
  | { fault: string }

/** Processor time for one image: several times what the largest allowed photo takes. */
const MAX_CPU_MS = 4000
const CPU_CHECK_MS = 50

function reply(message: FromDecoder, onSent?: () => void): void {
  process.send?.(message, undefined, undefined, onSent)
}

/** Not `process.exit()`, which waits for libvips. */
function die(): void {
  process.kill(process.pid, 'SIGKILL')
}

/** Ends the process when the image takes too much processor time. */
function startWatch(): NodeJS.Timeout {
  const start = process.cpuUsage()
  return setInterval(() => {
    const { user, system } = process.cpuUsage(start)
    if ((user + system) / 1000 < MAX_CPU_MS) return
    const detail = `decoding the image takes more than ${MAX_CPU_MS / 1000} seconds: save it again as a JPEG or PNG`
    reply({ status: 422, detail, isLast: true }, die)
  }, CPU_CHECK_MS)
}

process.on('message', async ({ isLargeAllowed, ...task }: ToDecoder) => {
  const watch = startWatch()
  try {
    reply({ result: await runGeneral(task, isLargeAllowed) })
  } catch (error) {
    reply(
      error instanceof RequestError
        ? { status: error.status, detail: error.message }
        : { fault: messageOf(error) },
    )
  } finally {
    clearInterval(watch)
  }
})
process.on('disconnect', die)
// a terminal signals the whole process group: the server decides when this process ends
process
  .on('SIGINT', () => {})
  .on('SIGTERM', () => {})
  .on('SIGHUP', () => {})
// the server's event loop and the common images go first
if (process.platform !== 'win32') setPriority(5)
