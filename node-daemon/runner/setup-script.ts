import type { Runner } from '../../crds/runner.ts';
import { sleep } from '../../kube/clock.ts';
import type { Stored } from '../../kube/object.ts';
import { ScriptError } from '../ssh/script.ts';
import type { ScriptFacts } from './facts.ts';
import type { GuestSession, RunnerPorts } from './ports.ts';

/** A Secret that is missing is looked for again after this, later less often; `timeouts.setup` ends the waiting. */
const SECRET_RETRY_MS = { first: 2_000, most: 10_000 };

/**
 * The text of the setup script. Called behind the gate only (line 6). Waits for a Secret or key that is
 * missing, telling `onWaiting` once why, in words that carry no secret.
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
  for (let tries = 1; ; tries += 1) {
    signal.throwIfAborted();
    const value = await ports.api.readSecret(namespace, ref.name, ref.key).catch((error: unknown) => {
      if (tries === 1) ports.log.warn({ err: error }, 'the Secret with the setup script cannot be read yet');
      return undefined;
    });
    if (value !== undefined) return value;
    if (tries === 1) {
      onWaiting(
        `the Secret ${ref.name} with the key ${ref.key} (spec.setupScript.secretKeyRef) is missing or not readable`,
      );
    }
    await sleep(ports.clock, Math.min(SECRET_RETRY_MS.first * tries, SECRET_RETRY_MS.most), signal);
  }
}

/**
 * Starts the script, or finds that it was started before. `impossible` where the guest says that it cannot run.
 * Rejects where the connection was lost on the way: it may run then, and starting it again is safe.
 */
export async function startInGuest(
  ports: RunnerPorts,
  session: GuestSession,
  script: string,
  signal: AbortSignal,
): Promise<ScriptFacts> {
  try {
    const started = await session.startScript(script, signal);
    if (started === 'started') return { state: 'running' };
  } catch (error) {
    if (!(error instanceof ScriptError) || error.kind !== 'guest') throw error;
    return { state: 'impossible', message: error.message };
  }
  return await look(ports, session, signal);
}

/** What the guest's script directory tells now. Rejects where the guest does not say, which decides nothing. */
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

/** The exit code is what counts: a guest that has lost the output has still run the script. */
async function ended(
  ports: RunnerPorts,
  session: GuestSession,
  exitCode: number,
  signal: AbortSignal,
): Promise<ScriptFacts> {
  const at = ports.clock.now();
  const outputTail = await session.outputTail(signal).catch((error: unknown) => {
    if (error instanceof ScriptError) return '';
    throw error;
  });
  return { state: 'exited', exitCode, outputTail, at, forMs: 0 };
}
