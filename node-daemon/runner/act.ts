import { type Condition, finalizerName } from '../../crds/meta.ts';
import type { Runner, RunnerStatus } from '../../crds/runner.ts';
import { getCondition, isTrue } from '../../kube/conditions.ts';
import { isConflict } from '../../kube/errors.ts';
import type { Stored } from '../../kube/object.ts';
import type { MetadataPatch } from '../vm/bundle.ts';
import type { BundlePaths } from '../vm/driver.ts';
import type { Action, Decision } from './decide.ts';
import type { ReadyReason } from './facts.ts';
import type { Observation } from './observe.ts';
import type { Guest, RunnerPorts } from './ports.ts';
import type { VmSession } from './session.ts';
import type { Sessions } from './sessions.ts';
import { timeoutsOf } from './timeouts.ts';

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
  if (decision.status !== undefined) stored = await writeStatus(ports, observation, decision.status);
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
  const now = ports.clock.now();
  switch (action.do) {
    case 'launch':
      await confirm(ports, runnerOf(observation));
      session.launch(runnerOf(observation));
      return WORKING;
    case 'recordStart':
      await bundles.update(paths, { startReturnedAt: now });
      return RECORDED;
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
    case 'recordScript':
      await bundles.update(paths, { scriptStartedAt: action.at });
      return RECORDED;
    case 'recordReady':
      await bundles.update(paths, readyRecord(observation, action.reason, now));
      return RECORDED;
    case 'recordOutcome':
      if (!(await recordForPurge(ports, paths, { outcome: action.outcome })))
        session.outcome = action.outcome;
      ports.log.info({ reason: action.outcome.reason, message: action.outcome.message }, 'runner is over');
      tellOutcome(ports, runnerOf(observation), action.outcome);
      return RECORDED;
    case 'purge':
      await markTearingDown(ports, observation, now);
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

/** A purge that a crash interrupts is known for one afterwards. */
async function markTearingDown(ports: RunnerPorts, observation: Observation, now: number): Promise<void> {
  if (observation.metadata === undefined || observation.metadata.tearingDownAt !== undefined) return;
  await recordForPurge(ports, observation.session.paths, { tearingDownAt: now });
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
function readyRecord({ facts }: Observation, reason: ReadyReason, now: number): MetadataPatch {
  const { script } = facts.session;
  const { scriptStarted } = facts.ages;
  const agoMs = script.state === 'exited' ? script.forMs : 0;
  return {
    ready: { at: script.state === 'exited' ? script.at : now, reason },
    ...(scriptStarted === undefined ? {} : { setupMs: Math.max(0, Math.round(scriptStarted - agoMs)) }),
  };
}

function awaitSsh(ports: RunnerPorts, observation: Observation): void {
  const { session } = observation;
  const runner = runnerOf(observation);
  const guest = guestOf(observation);
  const limitMs = timeoutsOf(runner.spec).bootMs;
  const startedAt = observation.facts.bundle?.startedAt ?? ports.clock.now();
  session.guest.connect(guest, {
    timeoutMs: Math.max(1, limitMs - session.elapsed.since(startedAt)),
    keep: runner.spec.setupScript !== undefined,
    onReady: async ({ hostKey }) => {
      await ports.bundles.update(session.paths, {
        sshReadyAt: ports.clock.now(),
        bootToSshMs: Math.round(session.elapsed.since(startedAt)),
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

/** The one write of a pass. With it the gate is passed where the status says so for the first time. */
async function writeStatus(
  ports: RunnerPorts,
  observation: Observation,
  status: RunnerStatus,
): Promise<Stored<Runner>> {
  const runner = runnerOf(observation);
  const before = runner.status;
  const isGate = status.scriptAttempt !== undefined && status.scriptAttempt !== before?.scriptAttempt;
  const stored = isGate
    ? await passGate(ports, observation.session, runner, status)
    : await ports.api.writeStatus(runner, status);
  tell(ports, stored, before, status);
  if (observation.facts.bundle === undefined) tellUnrecordedOutcome(ports, stored, before, status);
  return stored;
}

/** Whether a write whose answer was lost has passed the gate will be read from the object. */
async function passGate(
  ports: RunnerPorts,
  session: VmSession,
  runner: Stored<Runner>,
  status: RunnerStatus,
): Promise<Stored<Runner>> {
  // Then the answer to an earlier write was lost, and what refuses this one may be what that one wrote.
  const mayBePassed = session.facts.gatePassedHere;
  session.setGatePassedHere(true);
  try {
    return await ports.api.writeStatus(runner, status);
  } catch (error) {
    if (isConflict(error)) session.setGatePassedHere(mayBePassed);
    throw error;
  }
}

function tell(
  ports: RunnerPorts,
  runner: Stored<Runner>,
  before: RunnerStatus | undefined,
  after: RunnerStatus,
): void {
  if (became('SSHReady', before, after) === undefined) return;
  const { cloneMs, bootToSshMs } = after.timings ?? {};
  ports.events.normal(
    runner,
    'SSHReady',
    `SSH answers on ${ports.host.name} (clone ${cloneMs} ms, boot ${bootToSshMs} ms)`,
  );
}

/** Without a bundle no outcome was recorded, and told of, before the status that holds it. */
function tellUnrecordedOutcome(
  ports: RunnerPorts,
  runner: Stored<Runner>,
  before: RunnerStatus | undefined,
  after: RunnerStatus,
): void {
  const finished = became('Finished', before, after);
  if (finished !== undefined) tellOutcome(ports, runner, { ...finished, phase: after.phase });
}

/** What went well is told by the name of its condition, what failed by its reason. */
function tellOutcome(
  { events }: RunnerPorts,
  runner: Stored<Runner>,
  { phase, reason, message }: { phase: RunnerStatus['phase']; reason: string; message: string },
): void {
  if (phase === 'Finished') events.normal(runner, 'Finished', message);
  else events.warning(runner, reason, message);
}

/** The condition, where it was not True before and is now. */
function became(type: string, before: RunnerStatus | undefined, after: RunnerStatus): Condition | undefined {
  if (isTrue(before?.conditions, type) || !isTrue(after.conditions, type)) return undefined;
  return getCondition(after.conditions, type);
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
