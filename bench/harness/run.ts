import { describeMachine, load } from './machine.ts';

/** What a benchmark is given. */
export interface BenchContext {
  /** For people, on stderr. */
  readonly tell: (line: string) => void;
  /** Undoes something when the benchmark is over, the last first, however it ended. */
  readonly onEnd: (undo: () => Promise<unknown>) => void;
}

const tell = (line: string): void => void process.stderr.write(`${line}\n`);

/**
 * Runs a benchmark and prints one line of JSON on stdout: what `measure` returns, the machine, its load before
 * and after. Everything else goes to stderr. A failure is one line there, and exit code 1.
 */
export async function runBenchmark(
  name: string,
  measure: (context: BenchContext) => Promise<object>,
): Promise<void> {
  const loadBefore = load();
  const startedAt = new Date().toISOString();
  try {
    const figures = await inScope({ tell }, measure);
    const machine = await describeMachine();
    const report = { bench: name, startedAt, machine, loadBefore, loadAfter: load(), ...figures };
    // What was abandoned on the way, as a wait of minutes for a moment that will not come, must not keep the process.
    process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit());
  } catch (error) {
    const why = error instanceof Error ? (error.stack ?? error.message) : String(error);
    process.stderr.write(`${name} failed: ${why}\n`, () => process.exit(1));
  }
}

/** Does a part of a benchmark and undoes what it set up before the next one begins. */
export async function inScope<T>(
  { tell }: Pick<BenchContext, 'tell'>,
  measure: (context: BenchContext) => Promise<T>,
): Promise<T> {
  const undo: (() => Promise<unknown>)[] = [];
  const interrupted = Promise.withResolvers<never>();
  interrupted.promise.catch(() => undefined);
  const onSignal = (signal: NodeJS.Signals): void => interrupted.reject(new Error(`ended by ${signal}`));
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, onSignal);
  try {
    const context: BenchContext = { tell, onEnd: (step) => void undo.push(step) };
    return await Promise.race([measure(context), interrupted.promise]);
  } finally {
    for (const step of undo.toReversed()) {
      await step().catch((error: unknown) => tell(`cleaning up failed: ${String(error)}`));
    }
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.removeListener(signal, onSignal);
  }
}
