import { finalizerName } from '../../crds/meta.ts';
import type { Runner } from '../../crds/runner.ts';
import type { Stored } from '../../kube/object.ts';
import type { MetadataPatch } from '../vm/bundle.ts';
import type { BundlePaths } from '../vm/driver.ts';
import type { Action, Decision } from './decide.ts';
import type { Outcome, ReadyReason } from './facts.ts';
import type { Observation } from './observe.ts';
import type { Guest, RunnerPorts } from './ports.ts';
import type { Sessions } from './sessions.ts';
import { tellOutcome, writeStatus } from './tell.ts';

/** What acting changed outside of the sessions, which tell of their own changes. */
export interface Acted {
  /** What the API server holds now, where it was written. */
  readonly stored?: Stored<Runner> | undefined;
  /** Something durable changed: what is true now calls for another look. */
  readonly again: boolean;
  /** Bundles that are no more, whose sessions are spent. */
  readonly dropped: readonly BundlePaths[];
}

/**
 * Carries a decision out: its actions in order, then the one status write. Each action is idempotent. Throws
 * at the first that fails; what follows waits for the next pass.
 */
export async function act(
  ports: RunnerPorts,
  sessions: Sessions,
  observation: Observation,
  decision: Decision,
): Promise<Acted> {
  const dropped: BundlePaths[] = [];
  let stored: Stored<Runner> | undefined;
  let again = false;
  for (const action of decision.actions) {
    const done = await carryOut(ports, sessions, observation, action, stored);
    stored = done.stored ?? stored;
    again ||= done.again;
    if (done.dropped !== undefined) dropped.push(done.dropped);
  }
  if (decision.status !== undefined) {
    stored = await writeStatus(ports, observation, runnerOf(observation), decision.status);
  }
  return { stored, again, dropped };
}

interface Done {
  readonly again: boolean;
  readonly stored?: Stored<Runner> | undefined;
  readonly dropped?: BundlePaths;
}

/** How long a login to a guest that was SSH-ready before may take until it is tried afresh. */
const RECONNECT_TIMEOUT_MS = 30_000;

const WORKING: Done = { again: false };
const RECORDED: Done = { again: true };

async function carryOut(
  ports: RunnerPorts,
  sessions: Sessions,
  observation: Observation,
  action: Action,
  stored: Stored<Runner> | undefined,
): Promise<Done> {
  const { bundles } = ports;
  const { session } = observation;
  const { paths } = session;
  switch (action.do) {
    case 'launch':
      await confirm(ports, runnerOf(observation));
      session.launch(runnerOf(observation));
      return WORKING;
    case 'awaitSsh':
      awaitSsh(ports, observation);
      return WORKING;
    case 'reconnect':
      session.guest.connect(guestOf(observation), { timeoutMs: RECONNECT_TIMEOUT_MS, keep: true });
      return WORKING;
    case 'startScript':
      session.guest.startScript(runnerOf(observation));
      return WORKING;
    case 'observeScript':
      session.guest.observeScript();
      return WORKING;
    case 'watchScript':
      session.guest.watchScript();
      return WORKING;
    case 'recordStart':
      await bundles.update(paths, { startReturnedAt: ports.clock.now() });
      return RECORDED;
    case 'recordScript':
      await bundles.update(paths, { scriptStartedAt: action.at });
      return RECORDED;
    case 'recordReady':
      await bundles.update(paths, readyRecord(ports, observation, action.reason));
      return RECORDED;
    case 'recordOutcome':
      await recordOutcome(ports, observation, action.outcome);
      return RECORDED;
    case 'purge':
      await markTearingDown(ports, observation);
      session.purge();
      return WORKING;
    case 'purgeStray':
      sessions.of(bundles.paths(paths.uid, action.attempt)).purge();
      return WORKING;
    case 'removeFinalizer':
      return await removeFinalizer(ports, stored ?? seenRunner(observation), action.attempt);
    case 'dropStray':
      return await dropTombstone(ports, bundles.paths(paths.uid, action.attempt));
    case 'dropTombstone':
      return await dropTombstone(ports, paths);
  }
}

/** What was decided upon is not what the API server holds: wait for the watch to bring it. */
export class StaleRunnerError extends Error {
  constructor(runner: Stored<Runner>) {
    super(`the watch is behind: Runner ${runner.metadata.name} has changed`);
    this.name = 'StaleRunnerError';
  }
}

/**
 * A launch is worth a quorum read before anything is made: from a watch that is behind, one that the binding
 * protocol withdraws would follow the other.
 */
async function confirm(ports: RunnerPorts, runner: Stored<Runner>): Promise<void> {
  const { namespace, name, resourceVersion } = runner.metadata;
  const current = await ports.api.get({ namespace, name });
  if (current?.metadata.resourceVersion !== resourceVersion) throw new StaleRunnerError(runner);
}

async function recordOutcome(ports: RunnerPorts, observation: Observation, outcome: Outcome): Promise<void> {
  const { session } = observation;
  if (!(await recordForPurge(ports, session.paths, { outcome }))) session.outcome = outcome;
  const { reason, message } = outcome;
  const { uid, attempt } = session.paths;
  ports.log.info({ uid, attempt, reason, message }, 'an attempt is over');
  tellOutcome(ports, runnerOf(observation), outcome);
}

/** A purge that a crash interrupts is known for one afterwards. */
async function markTearingDown(ports: RunnerPorts, observation: Observation): Promise<void> {
  if (observation.metadata === undefined || observation.metadata.tearingDownAt !== undefined) return;
  await recordForPurge(ports, observation.session.paths, {
    tearingDownAt: ports.clock.now(),
  });
}

/** What cannot be recorded, as on a full disk, is known to this process: the purge is what makes room. */
async function recordForPurge(
  ports: RunnerPorts,
  paths: BundlePaths,
  patch: MetadataPatch,
): Promise<boolean> {
  try {
    await ports.bundles.update(paths, patch);
    return true;
  } catch (error) {
    ports.log.warn(
      { err: error, bundle: paths.dir },
      'cannot record that a VM is torn down; it is nonetheless',
    );
    return false;
  }
}

async function dropTombstone(ports: RunnerPorts, paths: BundlePaths): Promise<Done> {
  await ports.bundles.removeTombstone(paths);
  return { again: true, dropped: paths };
}

/** A script that was over before it was looked at is ready since then, not since now. */
function readyRecord(ports: RunnerPorts, { facts }: Observation, reason: ReadyReason): MetadataPatch {
  const { script } = facts.session;
  const { scriptStarted } = facts.ages;
  const agoMs = script.state === 'exited' ? script.forMs : 0;
  return {
    ready: { at: script.state === 'exited' ? script.at : ports.clock.now(), reason },
    ...(scriptStarted === undefined ? {} : { setupMs: Math.max(0, Math.round(scriptStarted - agoMs)) }),
  };
}

function awaitSsh(ports: RunnerPorts, observation: Observation): void {
  const { session } = observation;
  const runner = runnerOf(observation);
  const guest = guestOf(observation);
  const limitMs = observation.facts.timeouts.bootMs;
  const startedAt = observation.facts.bundle?.startedAt ?? ports.clock.now();
  const createdAt = ports.clock.monotonic() - (observation.facts.ages.runnerCreated ?? 0);
  session.guest.connect(guest, {
    timeoutMs: Math.max(1, limitMs - session.elapsed.since(startedAt)),
    keep: runner.spec.setupScript !== undefined,
    onReady: async ({ hostKey }) => {
      await ports.bundles.update(session.paths, {
        sshReadyAt: ports.clock.now(),
        bootToSshMs: Math.round(session.elapsed.since(startedAt)),
        totalMs: Math.round(ports.clock.monotonic() - createdAt),
        guest: { ...guest.guest, hostKey, rotated: !guest.guest.agent },
      });
    },
  });
}

async function removeFinalizer(ports: RunnerPorts, runner: Stored<Runner>, attempt: number): Promise<Done> {
  const stored = await ports.api.removeFinalizer(runner, finalizerName(ports.host.name, attempt));
  ports.events.normal(runner, 'Purged', `nothing is left of attempt ${attempt} on ${ports.host.name}`);
  return { again: stored !== undefined, stored };
}

function seenRunner({ facts }: Observation): Stored<Runner> {
  if (facts.runner.is === 'bound' || facts.runner.is === 'elsewhere') return facts.runner.runner;
  throw new Error('there is no Runner to let go of');
}

function runnerOf({ facts }: Observation): Stored<Runner> {
  if (facts.runner.is === 'bound') return facts.runner.runner;
  throw new Error('decided upon a Runner that is not bound here');
}

function guestOf({ session, metadata }: Observation): Guest {
  if (metadata?.prepared === undefined || metadata.guest === undefined) {
    throw new Error('decided upon a bundle that is not prepared');
  }
  return { paths: session.paths, prepared: metadata.prepared, guest: metadata.guest };
}
