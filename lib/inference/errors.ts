/**
 * Errors for people. Their messages name the input, the expected and the received value, and the fix. Anything else that
 * is thrown is a bug in the server.
 */

/** The request cannot be answered; the message is sent to the client as it is. */
export class RequestError extends Error {
  override name = 'RequestError'
  readonly status: number
  readonly headers: Record<string, string>

  /**
   * @param status of the response, 400 to 504
   * @param message expected, received, fix
   * @param headers more of the response, such as `allow` or `retry-after`
   */
  constructor(status: number, message: string, headers: Record<string, string> = {}) {
    // skip stack capture: it dominates the cost of a refusal
    const { stackTraceLimit } = Error
    Error.stackTraceLimit = 0
    super(message)
    Error.stackTraceLimit = stackTraceLimit
    this.status = status
    this.headers = headers
  }
}

/** For requests whose work is dropped because the process exits. */
export function serverStopping(): RequestError {
  return new RequestError(503, 'the server is stopping: send the request elsewhere')
}

/** The server cannot start as configured; the message is the one line the operator sees. */
export class StartError extends Error {
  override name = 'StartError'
}

/** The inference worker exited; the batch it was running can be run again. */
export class WorkerDied extends Error {
  override name = 'WorkerDied'
}

/** The message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
