const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Settles when the process is asked to stop, or rejects with what ended it before. A second signal while
 * stopping ends the process at once.
 */
export async function untilStopped(...failures: readonly Promise<never>[]): Promise<NodeJS.Signals> {
  const asked = Promise.withResolvers<NodeJS.Signals>();
  const stop = (signal: NodeJS.Signals): void => {
    for (const one of SIGNALS) {
      process.off(one, stop);
      process.once(one, () => process.exit(130));
    }
    asked.resolve(signal);
  };
  for (const signal of SIGNALS) process.on(signal, stop);
  return await Promise.race([asked.promise, ...failures]);
}
