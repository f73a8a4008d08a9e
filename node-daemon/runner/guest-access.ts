import { readFile } from 'node:fs/promises';
import { SYSTEM_NAMESPACE } from '../../crds/meta.ts';
import type { Clock } from '../../kube/clock.ts';
import { fetchGuestStatus } from '../guest-link/client.ts';
import { rotateLogin } from '../ssh/agentless.ts';
import { SshError } from '../ssh/errors.ts';
import { observeScript, readOutputTail, startScript, watchScript } from '../ssh/script.ts';
import type { SshSession, SshTarget } from '../ssh/session.ts';
import { waitForSsh } from '../ssh/wait.ts';
import { followConsole, saysSshdListens } from '../vm/console.ts';
import type { Guest, GuestAccess, GuestSession, LoginOptions, LoginResult, RunnerApi } from './ports.ts';

const CALL_TIMEOUT_MS = 30_000;
const STATUS_TIMEOUT_MS = 5_000;
const OUTPUT_TAIL_BYTES = 4096;

export interface GuestAccessOptions {
  /** For the keys of Templates without the agent. */
  readonly api: Pick<RunnerApi, 'readSecret'>;
  readonly clock: Clock;
}

/**
 * {@link GuestAccess} over SSH and HTTP. A guest with the agent has the Runner's own keys from its seed disk; one
 * without is reached with the template's key, which is replaced at once by the Runner's.
 */
export const guestAccess = (options: GuestAccessOptions): GuestAccess => ({
  login: async (guest, limits) => {
    try {
      return { state: 'connected', session: asGuestSession(await logIn(options, guest, limits)) };
    } catch (error) {
      limits.signal.throwIfAborted();
      return failed(error);
    }
  },
  status: (agent, token, signal) => fetchGuestStatus(agent, token, { timeoutMs: STATUS_TIMEOUT_MS, signal }),
});

async function logIn(
  { api, clock }: GuestAccessOptions,
  guest: Guest,
  limits: LoginOptions,
): Promise<SshSession> {
  const own = await ownTarget(guest);
  const waiting = { ...limits, clock, nudge: nudges(guest, limits) };
  if (guest.guest.agent || guest.guest.rotated === true) return await waitForSsh(own, waiting);
  // A daemon that died between rotating and recording it finds that only the Runner's own key is let in.
  const fallbackKey = await templateKey(api, guest);
  const session = await waitForSsh({ ...own, fallbackKey }, waiting);
  try {
    return await rotateLogin(session, own, { signal: limits.signal });
  } catch (error) {
    session.close();
    throw error;
  }
}

/** The agent's word comes when the guest has finished starting, the console's as soon as its SSH server listens. */
const nudges =
  ({ paths }: Guest, { nudge }: LoginOptions): LoginOptions['nudge'] =>
  (listener) => {
    const ends = [
      nudge(listener),
      followConsole(paths.serialLog, (line) => {
        if (saysSshdListens(line)) listener();
      }),
    ];
    return () => {
      for (const end of ends) end();
    };
  };

function failed(error: unknown): LoginResult {
  const message = error instanceof Error ? error.message : String(error);
  const isFinal = error instanceof SshError && (error.kind === 'auth' || error.kind === 'hostKey');
  return { state: isFinal ? 'refused' : 'failed', message };
}

async function ownTarget({ paths, prepared, guest }: Guest): Promise<SshTarget> {
  const { host, port } = prepared.endpoints.ssh;
  const privateKey = await readFile(paths.privateKey, 'utf8');
  return { host, port, user: guest.user, privateKey, hostKey: guest.hostKey };
}

async function templateKey(api: Pick<RunnerApi, 'readSecret'>, { prepared, guest }: Guest): Promise<string> {
  const ref = guest.privateKeySecretRef;
  if (ref === undefined) return await readFile(`${prepared.spec.templateDir}/id_ed25519`, 'utf8');
  const value = await api.readSecret(SYSTEM_NAMESPACE, ref.name, ref.key);
  if (value !== undefined) return value;
  throw new Error(
    `the Secret ${SYSTEM_NAMESPACE}/${ref.name} with the key ${ref.key}, which the Template names, is missing`,
  );
}

const asGuestSession = (session: SshSession): GuestSession => ({
  hostKey: session.hostKey,
  closed: session.closed,
  close: () => session.close(),
  startScript: (script, signal) => startScript(session, { script, timeoutMs: CALL_TIMEOUT_MS, signal }),
  observeScript: (signal) => observeScript(session, { signal }),
  watchScript: (signal) => watchScript(session, { signal }),
  outputTail: (signal) => readOutputTail(session, OUTPUT_TAIL_BYTES, { signal }),
});
