import { countedFailures } from '../../crds/attempts.ts';
import type { Runner, RunnerPhase, RunnerStatus } from '../../crds/runner.ts';
import type { Stored } from '../../kube/object.ts';
import { conditionsOf, conditionsOfFailedStart } from './conditions.ts';
import type { BundleFacts, Outcome, RunnerFacts } from './facts.ts';
import { attemptsAfter, startsAnew } from './failed-start.ts';
import { setupOf } from './judge.ts';
import { BRIEF_PHASE_MS } from './timeouts.ts';

export interface StatusDecision {
  /** The whole status to be; absent where nothing is worth a write yet. */
  readonly status?: RunnerStatus | undefined;
  /** After how many milliseconds a phase that was too brief to tell becomes worth telling. */
  readonly dueInMs?: number | undefined;
}

/**
 * The status that the facts call for. Asked for only with a fresh Lease: its `scriptAttempt` passes the gate. With
 * `outcome`: the last one of the attempt, written after the purge was observed. It never takes back what an earlier daemon
 * process reported: a fact that only memory held and that is lost leaves its field as it stands.
 */
export function desiredStatus(facts: RunnerFacts, runner: Stored<Runner>, outcome?: Outcome): StatusDecision {
  if (outcome !== undefined && startsAnew(runner, outcome)) {
    return { status: statusOfFailedStart(facts, runner, outcome) };
  }
  const phase = outcome?.phase ?? phaseOf(facts, runner);
  if (typeof phase === 'object') return phase;
  const attempt = runner.spec.binding?.attempt ?? 1;
  const before = runner.status?.attempt === attempt ? runner.status : ofNoAttempt(runner.status);
  const mayGate = facts.bundle?.sshReadyAt !== undefined && outcome === undefined;
  const status: RunnerStatus = {
    ...before,
    phase,
    observedGeneration: runner.metadata.generation ?? 0,
    attempt,
    ...(mayGate && phase !== 'TearingDown' ? { scriptAttempt: attempt } : {}),
    ...reached(facts, runner),
  };
  const setup = outcome?.setup ?? setupOf(facts, runner);
  if (setup !== undefined) status.setup = setup;
  if (outcome !== undefined) {
    status.finishedAt = iso(facts.now);
    status.attempts = attemptsAfter(facts, runner, outcome);
  }
  status.conditions = conditionsOf(facts, runner, phase, outcome);
  return { status };
}

/** Written after the purge was observed: with it the Runner waits to be bound anew. */
function statusOfFailedStart(facts: RunnerFacts, runner: Stored<Runner>, outcome: Outcome): RunnerStatus {
  const attempts = attemptsAfter(facts, runner, outcome);
  return {
    ...ofNoAttempt(runner.status),
    phase: 'Pending',
    observedGeneration: runner.metadata.generation ?? 0,
    attempt: runner.spec.binding?.attempt ?? 1,
    attempts,
    conditions: conditionsOfFailedStart(facts, runner, outcome, countedFailures(attempts)),
  };
}

/** A status without what it tells of one attempt. */
function ofNoAttempt(status: RunnerStatus | undefined): RunnerStatus {
  const { phase = 'Pending', observedGeneration = -1, conditions, attempts, scriptAttempt } = status ?? {};
  return { phase, observedGeneration, conditions, attempts, scriptAttempt };
}

const iso = (ms: number): string => new Date(ms).toISOString();

function phaseOf(facts: RunnerFacts, runner: Stored<Runner>): RunnerPhase | { dueInMs: number } {
  const { bundle, session, ages } = facts;
  const unlessBrief = (phase: RunnerPhase, forMs = 0): RunnerPhase | { dueInMs: number } =>
    forMs >= BRIEF_PHASE_MS || runner.status?.phase === phase ? phase : { dueInMs: BRIEF_PHASE_MS - forMs };
  if (runner.metadata.deletionTimestamp !== undefined || bundle?.outcome !== undefined) {
    return unlessBrief('TearingDown', session.purge.state === 'running' ? session.purge.forMs : 0);
  }
  if (bundle === undefined || bundle.stage !== 'Started') {
    return unlessBrief('Creating', session.launch.state === 'running' ? session.launch.forMs : 0);
  }
  if (bundle.sshReadyAt === undefined) return 'Booting';
  if (runner.spec.setupScript === undefined || bundle.scriptStartedAt === undefined) return 'SSHReady';
  if (bundle.readyAt !== undefined) return 'Running';
  return unlessBrief('Running', ages.scriptStarted);
}

/** Fields that come with how far the bundle came. */
function reached(facts: RunnerFacts, runner: Stored<Runner>): Partial<RunnerStatus> {
  const { bundle, endpoint, session } = facts;
  if (bundle?.startedAt === undefined) return {};
  const fields: Partial<RunnerStatus> = {
    startedAt: iso(bundle.startedAt),
    timings: timingsOf(bundle),
  };
  const ip = session.guest?.ip ?? endpoint?.guestIp;
  if (ip !== undefined && (bundle.sshReadyAt !== undefined || runner.status?.ipAddress !== undefined)) {
    fields.ipAddress = ip;
  }
  if (endpoint !== undefined && bundle.sshReadyAt !== undefined && bundle.hostKey !== undefined) {
    const { host, port, user } = endpoint;
    fields.ssh = { host, port, user, hostKey: bundle.hostKey };
  }
  // That there is no Actions runner is what everyone expects, and not worth a write of its own.
  const tellsOfRunner = session.guest?.state !== 'NoRunner' || runner.status?.guest !== undefined;
  if (session.guest !== undefined && tellsOfRunner && bundle.sshReadyAt !== undefined) {
    fields.guest = { state: session.guest.state };
  }
  return fields;
}

/** Creation is known to the second only, so totalMs is never less than the parts that were measured. */
function timingsOf(bundle: BundleFacts): RunnerStatus['timings'] {
  const { cloneMs, bootToSshMs, setupMs, totalMs } = bundle;
  return {
    ...(cloneMs === undefined ? {} : { cloneMs }),
    ...(bootToSshMs === undefined ? {} : { bootToSshMs }),
    ...(setupMs === undefined ? {} : { setupMs }),
    ...(totalMs === undefined ? {} : { totalMs: Math.max(totalMs, (bootToSshMs ?? 0) + (cloneMs ?? 0)) }),
  };
}
