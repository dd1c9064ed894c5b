/** How long the steps of a request took. */

/** Durations in milliseconds; absent until they are measured. */
export interface Timings {
  /** decoding, resizing and normalising all images */
  preprocessMs?: number
  /** longest wait for a batch */
  queueMs?: number
  /** longest run of a batch with this request's samples */
  inferenceMs?: number
  /** samples in the largest of those batches */
  batchSize?: number
}

/** The Server-Timing header, which browsers show in their developer tools. */
export function serverTiming({ preprocessMs, queueMs, inferenceMs }: Timings): string {
  const step = (name: string, ms?: number) => (ms === undefined ? '' : `${name};dur=${ms.toFixed(2)}`)
  return [step('preprocess', preprocessMs), step('queue', queueMs), step('inference', inferenceMs)]
    .filter(Boolean)
    .join(', ')
}
