/** Throughput of a queue, for Retry-After. */
export class Rate {
  /** milliseconds per item, a moving average */
  #msPerItem = 0

  /** Record `count` items that were finished together after `ms` milliseconds. */
  record(count: number, ms: number): void {
    const msPerItem = ms / count
    this.#msPerItem = this.#msPerItem === 0 ? msPerItem : 0.9 * this.#msPerItem + 0.1 * msPerItem
  }

  /** Estimated seconds for `count` items. */
  secondsFor(count: number): number {
    return (count * this.#msPerItem) / 1000
  }
}

/** The header of a 503 for a wait of so many seconds: whole ones, 1 to 60. */
export function retryAfter(seconds: number): { 'retry-after': string } {
  return { 'retry-after': String(Math.min(60, Math.max(1, Math.ceil(seconds)))) }
}
