/**
 * The two kinds of error that a person is meant to read. Both carry a message that names the input,
 * what was expected, what came, and the fix. Everything else that is thrown is a fault of ours.
 */

/** What a client is told whose request is not done. */
export interface Problem {
  /** HTTP status, 400 to 504 */
  readonly status: number
  /** what was expected, what came, and the fix */
  readonly message: string
  /** extra response headers, such as `allow` or `retry-after` */
  readonly headers: Record<string, string>
}

/** The client's request cannot be answered; `message` goes to the client as it is. */
export class RequestError extends Error implements Problem {
  override name = 'RequestError'
  readonly status: number
  readonly headers: Record<string, string>

  /** See `Problem`. */
  constructor(status: number, message: string, headers: Record<string, string> = {}) {
    // where it was thrown interests nobody, and to find out takes longer than all else that a refused request needs
    const { stackTraceLimit } = Error
    Error.stackTraceLimit = 0
    super(message)
    Error.stackTraceLimit = stackTraceLimit
    this.status = status
    this.headers = headers
  }
}

/** The server cannot start as it is configured; `message` is the one line that the operator sees. */
export class StartError extends Error {
  override name = 'StartError'
}

/** The thread that ran the model has died; what it was running can be run again. */
export class WorkerDied extends Error {
  override name = 'WorkerDied'
}

/** The message of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
