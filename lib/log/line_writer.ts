/** Writes lines to a file descriptor without ever waiting for it: what does not fit into the buffer is dropped. */
import { write, writeSync } from 'node:fs'

/** Lines are written together, which costs a busy server much less than each on its own... */
const BATCH_CHARS = 4096
/** ...and at most this much late. */
const LATE_MS = 50
/** Lines that wait for a destination that takes none: some thousands. */
const MAX_CHARS = 2 ** 20
/** How long after a failed write the next one is tried. */
const RETRY_MS = 100
/** How long `flush` waits for a destination that takes nothing at present. */
const FLUSH_MS = 500

const NOTHING = Buffer.alloc(0)

export class LineWriter {
  /** lines dropped since the start */
  dropped = 0
  /** called with the first error of a series; a full pipe is none */
  onFailure = (_error: NodeJS.ErrnoException) => {}
  /** called once the lines that waited are written, with the number dropped in between */
  onRecovery = (_dropped: number) => {}

  readonly #fd: number
  #waiting = ''
  /** the part of a batch that is not written yet */
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

  /** Call back once all lines are written, or will not be for now; not while a write hangs in the system. */
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
    // EAGAIN: a pipe is full, and may be read any moment
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

  /** At the end of the process, which waits for nothing: one attempt. */
  #writeRest(): void {
    const rest = this.#isWriting ? this.#waiting : this.#batch.toString() + this.#waiting
    if (rest === '') return
    try {
      writeSync(this.#fd, rest)
    } catch {
      // nobody can be told
    }
  }
}
