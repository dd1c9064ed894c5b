/** The progress of a download: a bar on a terminal, a line now and then otherwise. */

const BAR = 24
const REDRAW_MS = 100
const LINE_MS = 10_000

export class Progress {
  readonly #label: string
  readonly #total: number
  readonly #say: (line: string) => void
  readonly #terminal: NodeJS.WriteStream | undefined
  readonly #startedAt = performance.now()
  #bytes = 0
  /** already there, not transferred now */
  #resumed = 0
  #shownAt = performance.now()

  /**
   * @param total in bytes
   * @param say called with lines, if standard error is not a terminal
   */
  constructor(label: string, total: number, say: (line: string) => void) {
    this.#label = label
    this.#total = total
    this.#say = say
    this.#terminal = process.stderr.isTTY ? process.stderr : undefined
    if (!this.#terminal) say(`${label}: ${megabytes(total)}`)
  }

  /** Count received bytes; negative ones are to be received again. */
  add(bytes: number): void {
    this.#bytes += bytes
    const now = performance.now()
    if (now - this.#shownAt < (this.#terminal ? REDRAW_MS : LINE_MS)) return
    this.#shownAt = now
    this.#show()
  }

  /** Count bytes that an earlier download has left. */
  resume(bytes: number): void {
    this.#resumed += bytes
    this.add(bytes)
  }

  end(): void {
    this.#show()
    this.#terminal?.write('\n')
  }

  #show(): void {
    const part = this.#total === 0 ? 1 : this.#bytes / this.#total
    const seconds = (performance.now() - this.#startedAt) / 1000
    const rate = megabytes(Math.max(0, this.#bytes - this.#resumed) / seconds)
    const text = `${Math.floor(part * 100)} % of ${megabytes(this.#total)}, ${rate}/s`
    const filled = Math.round(part * BAR)
    const bar = '#'.repeat(filled) + '.'.repeat(BAR - filled)
    if (this.#terminal) this.#terminal.write(`\r\x1b[K${this.#label} [${bar}] ${text}`)
    else this.#say(`${this.#label}: ${text}`)
  }
}

/** 1 MB = 10^6 bytes, as the Hub counts. */
function megabytes(bytes: number): string {
  const number = bytes / 1e6
  return `${number >= 10 ? Math.round(number) : number.toFixed(1)} MB`
}
