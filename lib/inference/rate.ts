/** How fast work gets done, and so how long what waits will take. */
export class Rate {
  /** milliseconds for one, a moving average */
  #msEach = 0

  /** @param count done together in `ms` milliseconds */
  done(count: number, ms: number): void {
    const msEach = ms / count
    this.#msEach = this.#msEach === 0 ? msEach : 0.9 * this.#msEach + 0.1 * msEach
  }

  /** Whole seconds that as many will take, from 1 to 60: what Retry-After says. */
  secondsFor(count: number): number {
    return Math.min(60, Math.max(1, Math.ceil((count * this.#msEach) / 1000)))
  }
}
