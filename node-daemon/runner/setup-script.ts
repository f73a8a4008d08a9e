import type { Runner } from '../../crds/runner.ts';
import { sleep } from '../../kube/clock.ts';
import type { Stored } from '../../kube/object.ts';
import type { ScriptFacts } from './facts.ts';
import type { GuestSession, RunnerPorts } from './ports.ts';

/** A Secret that is missing is looked for again after this; `timeouts.setup` ends the waiting. */
const SECRET_RETRY_MS = 2_000;

/**
 * The text of the setup script. Called behind the gate only (line 6). Waits for a Secret or key that is
 * missing, telling `onWaiting` why in words that carry no secret.
 */
export async function readScript(
  ports: RunnerPorts,
  runner: Stored<Runner>,
  onWaiting: (why: string) => void,
  signal: AbortSignal,
): Promise<string> {
  const source = runner.spec.setupScript;
  if (source?.inline !== undefined) return source.inline;
  const ref = source?.secretKeyRef;
  if (ref === undefined) throw new Error('spec.setupScript has no source');
  const namespace = runner.metadata.namespace ?? 'default';
  for (;;) {
    signal.throwIfAborted();
    const value = await ports.api.readSecret(namespace, ref.name, ref.key).catch((error: unknown) => {
      ports.log.warn({ err: error }, 'the Secret with the setup script could not be read');
      return undefined;
    });
    if (value !== undefined) return value;
    onWaiting(
      `the Secret ${ref.name} with the key ${ref.key} (spec.setupScript.secretKeyRef) is missing or not readable`,
    );
    await sleep(ports.clock, SECRET_RETRY_MS, signal);
  }
}

/** Starts the script, or finds that it was started before. Rejects where the connection was lost on the way. */
export async function startInGuest(
  ports: RunnerPorts,
  session: GuestSession,
  script: string,
  signal: AbortSignal,
): Promise<ScriptFacts> {
  const started = await session.startScript(script, signal);
  return started === 'started' ? { state: 'running' } : await look(ports, session, signal);
}

/** What the guest's script directory tells now. */
export async function look(
  ports: RunnerPorts,
  session: GuestSession,
  signal: AbortSignal,
): Promise<ScriptFacts> {
  const seen = await session.observeScript(signal);
  return seen.state === 'exited' ? await ended(ports, session, seen.exitCode, signal) : { state: seen.state };
}

/** Settles when the script is over. Rejects where the connection was lost or `signal` aborts. */
export async function watch(
  ports: RunnerPorts,
  session: GuestSession,
  signal: AbortSignal,
): Promise<ScriptFacts> {
  const seen = await session.watchScript(signal);
  return seen.state === 'exited' ? await ended(ports, session, seen.exitCode, signal) : { state: seen.state };
}

async function ended(
  ports: RunnerPorts,
  session: GuestSession,
  exitCode: number,
  signal: AbortSignal,
): Promise<ScriptFacts> {
  const at = ports.clock.now();
  return { state: 'exited', exitCode, outputTail: await session.outputTail(signal), at, forMs: 0 };
}
