/**
 * Writes lines to a file descriptor without ever waiting for it: lines that do not fit into the buffer are dropped.
 *
 * Not sonic-boom, pino's own writer: on exit it writes again and again to a full disk or a closed pipe (4.2.1), and the
 * process never ends.
 */
import { write, writeSync } from 'node:fs'

/** Lines are written in batches, which costs a busy server much less than single writes... */
const BATCH_CHARS = 4096
/** ...and at most this much later. */
const LATE_MS = 50
/** Characters to keep for a blocked destination, at most: a few thousand lines. */
const MAX_CHARS = 2 ** 20
/** Pause after a failed write. */
const RETRY_MS = 100
/** How long `flush` waits for a blocked destination. */
const FLUSH_MS = 500

const NOTHING = Buffer.alloc(0)

export class LineWriter {
  /** lines dropped since startup */
  dropped = 0
  /** called with the first error of a series; a full pipe is not an error */
  onFailure = (_error: NodeJS.ErrnoException) => {}
  /** called once the waiting lines are written, with the number of lines dropped meanwhile */
  onRecovery = (_dropped: number) => {}

  readonly #fd: number
  #waiting = ''
  /** the unwritten part of a batch */
  #batch = NOTHING
  #isWriting = false
  #timer: NodeJS.Timeout | undefined
  #isFailing = false
  #unreported = 0
  #flushes: (() => void)[] = []

  constructor(fd: number) {
    this.#fd = fd
    process.once('exit', () => this.#writeRest())
  }

  /** @param line with its line feed */
  write(line: string): void {
    if (this.#waiting.length + this.#batch.length + line.length > MAX_CHARS) {
      this.dropped++
      this.#unreported++
      return
    }
    this.#waiting += line
    if (this.#isWriting || this.#isFailing) return
    if (this.#waiting.length >= BATCH_CHARS) this.#writeBatch()
    else this.#timer ??= this.#after(LATE_MS)
  }

  /** Call back once all lines are written or cannot be written for now, but not while a write is in progress. */
  flush(done: () => void): void {
    const timer = setTimeout(() => {
      if (!this.#isWriting) this.#settle()
    }, FLUSH_MS)
    this.#flushes.push(() => {
      clearTimeout(timer)
      done()
    })
    this.#writeBatch()
  }

  #after(ms: number): NodeJS.Timeout {
    return setTimeout(() => this.#writeBatch(), ms).unref()
  }

  #writeBatch(): void {
    if (this.#isWriting) return
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#batch.length === 0) {
      this.#batch = Buffer.from(this.#waiting)
      this.#waiting = ''
    }
    if (this.#batch.length === 0) {
      this.#settle()
      return
    }
    this.#isWriting = true
    write(this.#fd, this.#batch, (error, written) => {
      this.#isWriting = false
      if (error) this.#fail(error)
      else this.#advance(written)
    })
  }

  #advance(written: number): void {
    this.#isFailing = false
    this.#batch = this.#batch.subarray(written)
    const rest = this.#batch.length + this.#waiting.length
    if (rest === 0) {
      this.#settle()
      this.#reportDropped()
    } else if (this.#batch.length > 0 || rest >= BATCH_CHARS || this.#flushes.length > 0) this.#writeBatch()
    else this.#timer ??= this.#after(LATE_MS)
  }

  #fail(error: NodeJS.ErrnoException): void {
    // EAGAIN: the pipe is full, and may be read at any moment
    if (error.code !== 'EAGAIN') {
      if (!this.#isFailing) this.onFailure(error)
      this.#settle()
    }
    this.#isFailing = true
    this.#timer ??= this.#after(RETRY_MS)
  }

  #settle(): void {
    const flushes = this.#flushes
    this.#flushes = []
    for (const done of flushes) done()
  }

  #reportDropped(): void {
    if (this.#unreported === 0) return
    const dropped = this.#unreported
    this.#unreported = 0
    this.onRecovery(dropped)
  }

  /** On exit, which waits for nothing: one attempt. */
  #writeRest(): void {
    const rest = this.#isWriting ? this.#waiting : this.#batch.toString() + this.#waiting
    if (rest === '') return
    try {
      writeSync(this.#fd, rest)
    } catch {
      // there is nowhere to report this
    }
  }
}
