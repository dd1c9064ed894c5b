/** The signals of a process, alone or under a supervisor. */
import cluster from 'node:cluster'

/** From the supervisor to its processes. */
export type Command = 'stop' | 'exit' | 'reload'

export interface SignalHandlers {
  /** finish open requests, then exit */
  stop(): void
  /** exit at once */
  exit(): void
  reload(): void
}

/**
 * SIGTERM and SIGINT stop the process, a second one ends it at once, SIGHUP reloads the model.
 *
 * A terminal and systemd signal all processes of a group at once. A process under a supervisor waits for its command
 * instead, except for SIGTERM, which may be sent to this process alone.
 */
export function onSignals({ stop, exit, reload }: SignalHandlers): void {
  if (cluster.isWorker) {
    const handlers: Record<Command, () => void> = { stop, exit, reload }
    process.on('message', (message) => handlers[message as Command]?.())
    process
      .on('SIGTERM', stop)
      .on('SIGINT', () => {})
      .on('SIGHUP', () => {})
    return
  }
  let isStopping = false
  const stopOrExit = () => {
    if (isStopping) return exit()
    isStopping = true
    stop()
  }
  process.on('SIGTERM', stopOrExit).on('SIGINT', stopOrExit).on('SIGHUP', reload)
}
