/** Throughput of a queue, for Retry-After. */
export class Rate {
  /** milliseconds per item, a moving average */
  #msPerItem = 0

  /** Record `count` items that were finished together after `ms` milliseconds. */
  record(count: number, ms: number): void {
    const msPerItem = ms / count
    this.#msPerItem = this.#msPerItem === 0 ? msPerItem : 0.9 * this.#msPerItem + 0.1 * msPerItem
  }

  /** Estimated whole seconds for `count` items, 1 to 60. */
  secondsFor(count: number): number {
    return Math.min(60, Math.max(1, Math.ceil((count * this.#msPerItem) / 1000)))
  }
}
