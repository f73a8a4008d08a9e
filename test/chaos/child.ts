import { flushCompileCache } from 'node:module';
import { pino } from 'pino';
import { type KubeClient, loadKubeClient } from '../../kube/client.ts';
import type { Logger } from '../../kube/log.ts';
import { Boundary, type CrashPoint, wrapClient } from './boundary.ts';

/** What a process that is to be killed is told while it runs. */
export type Order =
  /** Answered where it did not die meanwhile. */
  | { readonly id: number; readonly arm: CrashPoint | null }
  /** Answered with `calls`. */
  | { readonly id: number; readonly tell: 'calls' }
  /** Goes on where it waits. */
  | { readonly release: true }
  | { readonly stop: true };

export type Tidings =
  | { readonly ready: true }
  /** It waits at its point. */
  | { readonly held: true }
  | { readonly answers: number; readonly calls: readonly string[] };

export interface ChildOptions {
  readonly kubeconfig: string;
  /** Where it dies although it has not been told yet: while it starts. */
  readonly point?: CrashPoint | undefined;
}

export interface ChildTools {
  readonly boundary: Boundary;
  readonly client: KubeClient;
  readonly log: Logger;
}

/**
 * Runs a program behind the boundary: its only argument are its options, as JSON. Ends with its parent, whatever
 * became of that.
 */
export async function runChild<T extends ChildOptions>(
  product: string,
  start: (options: T, tools: ChildTools) => Promise<() => Promise<unknown>>,
): Promise<void> {
  const options: T = JSON.parse(process.argv[2] ?? '');
  process.on('disconnect', () => process.kill(process.pid, 'SIGKILL'));
  const tell = (tidings: Tidings): void => void process.send?.(tidings);
  const boundary = new Boundary(() => tell({ held: true }));
  void boundary.arm(options.point);
  const real = loadKubeClient({ kubeconfigPath: options.kubeconfig, userAgent: `shoes-vz-${product}/0` });
  const log = pino({ level: 'info' }, pino.destination({ dest: 2, sync: true }));
  const stop = await start(options, { boundary, client: wrapClient(boundary, real), log });
  const obey = async (order: Order): Promise<void> => {
    if ('stop' in order) {
      await stop();
      process.exit(0);
    }
    if ('release' in order) return boundary.release();
    const { calls } = boundary;
    if ('arm' in order) await boundary.arm(order.arm ?? undefined);
    tell({ answers: order.id, calls });
  };
  process.on('message', (order: Order) => void obey(order));
  tell({ ready: true });
  // Not left to its end, which is a SIGKILL.
  flushCompileCache();
}
