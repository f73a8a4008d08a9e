import { exitCodeOf, StoppedError } from './failure.ts';

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** That somebody asks this process to stop. */
export interface StopRequest {
  /** Aborted with a {@link StoppedError} when it is asked. */
  readonly signal: AbortSignal;
  /** Resolves with the signal that asked. */
  readonly asked: Promise<NodeJS.Signals>;
  /** Rejects with the {@link StoppedError}: for races with work that takes no AbortSignal. */
  readonly interrupted: Promise<never>;
}

/**
 * Listens for the signals that ask a process to stop, for the rest of its life. A second SIGINT or SIGTERM ends
 * the process at once; a terminal that goes away may well hang up twice.
 */
export function listenForStop(): StopRequest {
  const stop = new AbortController();
  const asked = Promise.withResolvers<NodeJS.Signals>();
  const interrupted = Promise.withResolvers<never>();
  interrupted.promise.catch(() => undefined);
  const onSignal = (signal: NodeJS.Signals): void => {
    if (!stop.signal.aborted) {
      const reason = new StoppedError(signal);
      stop.abort(reason);
      asked.resolve(signal);
      interrupted.reject(reason);
    } else if (signal !== 'SIGHUP') {
      process.exit(exitCodeOf(signal));
    }
  };
  for (const signal of SIGNALS) process.on(signal, onSignal);
  return { signal: stop.signal, asked: asked.promise, interrupted: interrupted.promise };
}
