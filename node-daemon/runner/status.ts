import type { Condition } from '../../crds/meta.ts';
import type { Runner, RunnerPhase, RunnerStatus } from '../../crds/runner.ts';
import { removeCondition, setCondition } from '../../kube/conditions.ts';
import type { Stored } from '../../kube/object.ts';
import type { BundleFacts, Outcome, ReadyReason, RunnerFacts } from './facts.ts';
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
 * `outcome`: the last one, written after the purge was observed. It never takes back what an earlier daemon
 * process reported: a fact that only memory held and that is lost leaves its field as it stands.
 */
export function desiredStatus(facts: RunnerFacts, runner: Stored<Runner>, outcome?: Outcome): StatusDecision {
  const phase = outcome?.phase ?? phaseOf(facts, runner);
  if (typeof phase === 'object') return phase;
  const attempt = runner.spec.binding?.attempt ?? 1;
  const before = runner.status ?? { phase: 'Pending', observedGeneration: -1 };
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
  if (outcome !== undefined) status.finishedAt = iso(facts.now);
  status.conditions = conditionsOf(facts, runner, phase, outcome);
  return { status };
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
    timings: timingsOf(bundle, runner),
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
function timingsOf(bundle: BundleFacts, runner: Stored<Runner>): RunnerStatus['timings'] {
  const { cloneMs, bootToSshMs, setupMs, sshReadyAt } = bundle;
  const sinceCreation =
    sshReadyAt === undefined ? undefined : sshReadyAt - Date.parse(runner.metadata.creationTimestamp);
  return {
    ...(cloneMs === undefined ? {} : { cloneMs }),
    ...(bootToSshMs === undefined ? {} : { bootToSshMs }),
    ...(setupMs === undefined ? {} : { setupMs }),
    ...(sinceCreation === undefined
      ? {}
      : { totalMs: Math.max(sinceCreation, (bootToSshMs ?? 0) + (cloneMs ?? 0)) }),
  };
}

const READY_MESSAGES: Record<ReadyReason, string> = {
  NoScript: 'the VM answers SSH; there is no setup script',
  ScriptSucceeded: 'the setup script exited with code 0',
  RunnerRegistered: 'the Actions runner is registered and takes jobs',
};

/** The one place that says which conditions a phase or an outcome comes with. */
function conditionsOf(
  facts: RunnerFacts,
  runner: Stored<Runner>,
  phase: RunnerPhase,
  outcome?: Outcome,
): Condition[] {
  const now = iso(facts.now);
  const generation = runner.metadata.generation;
  let conditions: Condition[] = runner.status?.conditions ?? [];
  const set = (type: string, status: Condition['status'], reason: string, message: string): void => {
    conditions = setCondition(
      conditions,
      { type, status, reason, message: clipped(message), observedGeneration: generation },
      now,
    );
  };
  const attempt = runner.spec.binding?.attempt ?? 1;
  set('Bound', 'True', 'Bound', `bound to host ${facts.host.name}, attempt ${attempt}`);
  if (outcome !== undefined) {
    if (outcome.phase === 'Error') set('Stalled', 'True', outcome.reason, outcome.message);
    set('Finished', 'True', outcome.reason, outcome.message);
    if (!hasSucceeded(conditions, 'SSHReady')) set('SSHReady', 'False', outcome.reason, outcome.message);
    return removeCondition(conditions, 'Ready');
  }
  const { bundle } = facts;
  if (phase === 'TearingDown') {
    const { reason, message } = tearingDown(facts);
    set('Ready', 'False', reason, message);
    return conditions;
  }
  if (bundle?.sshReadyAt === undefined) {
    set(
      'SSHReady',
      'False',
      phase,
      phase === 'Creating' ? 'the template is being cloned' : 'the VM boots; SSH does not answer yet',
    );
    set('Ready', 'False', phase, phase === 'Creating' ? 'the template is being cloned' : 'the VM boots');
    return conditions;
  }
  set('SSHReady', 'True', 'Authenticated', 'an authenticated SSH command exited with code 0');
  if (bundle.readyAt !== undefined) {
    const reason = bundle.readyReason ?? 'ScriptSucceeded';
    set('Ready', 'True', reason, READY_MESSAGES[reason]);
  } else if (runner.spec.setupScript === undefined) {
    set('Ready', 'True', 'NoScript', READY_MESSAGES.NoScript);
  } else {
    const { script } = facts.session;
    const waiting = script.state === 'starting' ? script.waitingFor : undefined;
    set(
      'Ready',
      'False',
      waiting === undefined ? 'SetupRunning' : 'SetupWaiting',
      waiting ?? 'the setup script has not finished',
    );
  }
  if ((facts.vmUnknownForMs ?? 0) >= BRIEF_PHASE_MS)
    set('Ready', 'Unknown', 'VmUnknown', "the VM's process is there but does not answer");
  return conditions;
}

function tearingDown({ bundle, session }: RunnerFacts): { reason: string; message: string } {
  const { purge } = session;
  if (purge.state === 'running' && purge.failing !== undefined) {
    return { reason: 'PurgeFailing', message: `the VM cannot be destroyed yet: ${purge.failing}` };
  }
  return bundle?.outcome ?? { reason: 'Deleted', message: 'the Runner is being deleted' };
}

/** Most characters of a condition's message, as the CRD has it: a longer one would be refused for ever. */
const MESSAGE_LIMIT = 1024;

function clipped(message: string): string {
  const characters = [...message];
  return characters.length <= MESSAGE_LIMIT ? message : `${characters.slice(0, MESSAGE_LIMIT - 1).join('')}…`;
}

const hasSucceeded = (conditions: readonly Condition[], type: string): boolean =>
  conditions.some((condition) => condition.type === type && condition.status === 'True');
