import { hasFailed, isOver } from '../../crds/attempts.ts';
import type { Runner, RunnerStatus } from '../../crds/runner.ts';
import type { Stored } from '../../kube/object.ts';
import type { BundleFacts, Outcome, ReadyReason, RunnerFacts } from './facts.ts';
import { awaitsScript, judge, mayStartScript } from './judge.ts';
import { desiredStatus, type StatusDecision } from './status.ts';

/**
 * One Runner on its host:
 *
 *    (no bundle) ──launch──► Preparing ──► Prepared ──► Started ──awaitSsh──► SSH-ready ──gate──► script
 *         ▲                      │             │            │                     │               │
 *         └── purge (half-made) ─┴─────────────┘            └───── judge(): an outcome ───────────┘
 *                                                                         │
 *                                  recordOutcome ► purge ► Purged ► status ► removeFinalizer ► dropTombstone
 *
 * A half-made bundle (a daemon died in Preparing or Prepared) is purged and launched again: its VM never
 * ran. From Started on, nothing of an attempt is ever tried twice: an outcome ends it. Before the gate that is the
 * end of the attempt only, and the last status sends the Runner back to be bound anew.
 */
export type Action =
  | { readonly do: 'launch' }
  /** The process was found running although its start was not recorded. */
  | { readonly do: 'recordStart' }
  | { readonly do: 'awaitSsh' }
  | { readonly do: 'reconnect' }
  | { readonly do: 'startScript' }
  | { readonly do: 'observeScript' }
  | { readonly do: 'watchScript' }
  | { readonly do: 'recordScript'; readonly at: number }
  | { readonly do: 'recordReady'; readonly reason: ReadyReason }
  | { readonly do: 'recordOutcome'; readonly outcome: Outcome }
  | { readonly do: 'purge' }
  | { readonly do: 'purgeStray'; readonly attempt: number }
  | { readonly do: 'dropStray'; readonly attempt: number }
  | { readonly do: 'removeFinalizer'; readonly attempt: number }
  | { readonly do: 'dropTombstone' };

export interface Decision {
  readonly actions: readonly Action[];
  /** Absent: status is left as it is. */
  readonly status?: RunnerStatus | undefined;
  /** Time alone changes the decision then; every other change comes as an event. */
  readonly requeueAfterMs?: number | undefined;
}

/** A Runner whose object could not be read is looked at again after this. */
const UNKNOWN_RETRY_MS = 5_000;

/** How often it is looked whether the Lease is back: that a clock was set right again, nobody tells. */
export const WITHOUT_LEASE_MS = 5_000;

/** Pure: what is to be done now, from what is true now. */
export function decide(facts: RunnerFacts): Decision {
  const decision = decideWithLease(facts);
  if (facts.leaseFresh) return decision;
  return { ...decision, requeueAfterMs: earliest(decision.requeueAfterMs, WITHOUT_LEASE_MS) };
}

function decideWithLease(facts: RunnerFacts): Decision {
  switch (facts.runner.is) {
    case 'unknown':
      return { actions: [], requeueAfterMs: UNKNOWN_RETRY_MS };
    case 'absent':
    case 'elsewhere':
      return unwanted(facts);
    case 'bound':
      return bound(facts, facts.runner.runner);
  }
}

/** The Runner is gone or belongs to another host: nothing of it stays here, nor our hold on it. */
function unwanted(facts: RunnerFacts): Decision {
  return { actions: remains(facts) ? destroy(facts) : letGo(facts) };
}

/** Whether anything of this UID is left on this host but a tombstone; what is not known counts as left. */
const remains = (facts: RunnerFacts): boolean =>
  facts.strays.length > 0 ||
  (facts.bundle !== undefined && facts.bundle.stage !== 'Purged') ||
  facts.vm !== 'absent';

/** Destroying waits for a fresh Lease, and for what is already being destroyed. Strays go first. */
function destroy(facts: RunnerFacts): Action[] {
  if (!facts.leaseFresh || facts.session.purge.state === 'running') return [];
  const stray = facts.strays[0];
  if (stray === undefined) return [{ do: 'purge' }];
  const { attempt } = stray;
  if (stray.purging) return [];
  if (stray.stage !== 'Purged') return [{ do: 'purgeStray', attempt }];
  return isLetGo(facts, attempt)
    ? [{ do: 'dropStray', attempt }]
    : [
        { do: 'removeFinalizer', attempt },
        { do: 'dropStray', attempt },
      ];
}

/** The bound attempt keeps its finalizer, whatever lay in its place before. */
const isLetGo = ({ runner, heldAttempts }: RunnerFacts, attempt: number): boolean =>
  !heldAttempts.includes(attempt) ||
  (runner.is === 'bound' && runner.runner.spec.binding?.attempt === attempt);

function bound(facts: RunnerFacts, runner: Stored<Runner>): Decision {
  if (facts.strays.length > 0) return { actions: destroy(facts) };
  const hasEnded = isOver(runner) || hasFailed(runner);
  if (runner.metadata.deletionTimestamp !== undefined || hasEnded) return tearDown(facts, runner, hasEnded);
  if (facts.bundle?.outcome !== undefined) return tearDown(facts, runner, false);
  const verdict = judge(facts, runner);
  if (verdict.outcome !== undefined) return conclude(facts, runner, verdict.outcome);
  const actions = progress(facts, runner);
  // What is being recorded belongs into the same write: the next pass, which follows at once, has it.
  if (actions.some(isRecord)) return { actions };
  const { status, dueInMs } = tell(facts, runner);
  return { actions, status, requeueAfterMs: earliest(verdict.dueInMs, dueInMs, nextLookMs(facts)) };
}

/** That a VM which does not answer has ended, or answers again, is told by no event: often at first, then less. */
const nextLookMs = ({ vmUnknownForMs }: RunnerFacts): number | undefined =>
  vmUnknownForMs === undefined ? undefined : Math.min(Math.max(vmUnknownForMs, 100), 5_000);

const isRecord = ({ do: what }: Action): boolean =>
  what === 'recordStart' || what === 'recordScript' || what === 'recordReady';

/** An outcome is on disk before anything is destroyed for it, so that a restart tells the same story. */
function conclude(facts: RunnerFacts, runner: Stored<Runner>, outcome: Outcome): Decision {
  if (facts.bundle !== undefined) return { actions: [{ do: 'recordOutcome', outcome }] };
  if (remains(facts)) return { actions: destroy(facts) };
  return { actions: [], status: tell(facts, runner, outcome).status };
}

/** Destroys what is left, then says how it ended, then lets go of the object: in that order. */
function tearDown(facts: RunnerFacts, runner: Stored<Runner>, isOver: boolean): Decision {
  if (remains(facts)) {
    const { status, dueInMs }: StatusDecision = isOver ? {} : tell(facts, runner);
    return { actions: destroy(facts), status, requeueAfterMs: dueInMs };
  }
  const outcome = facts.bundle?.outcome;
  if (!isOver && outcome !== undefined && runner.metadata.deletionTimestamp === undefined) {
    return { actions: [], status: tell(facts, runner, outcome).status };
  }
  return { actions: letGo(facts) };
}

/** Nothing is left here: the object may go. The tombstone stays until that was acknowledged. */
function letGo(facts: RunnerFacts): Action[] {
  if (!facts.leaseFresh) return [];
  const held = facts.heldAttempts.filter((attempt) => isOurs(facts, attempt));
  const letGo = held.map((attempt): Action => ({ do: 'removeFinalizer', attempt }));
  return facts.bundle === undefined ? letGo : [...letGo, { do: 'dropTombstone' }];
}

/**
 * Whether a finalizer of this host's name is ours to remove. It is where the attempt's bundle was here, or where it
 * is the bound one. Of others only the host object that has the name now may judge: while that is not ours, the
 * VM may be another machine's. Without a bundle the VM of one attempt at a time was looked for.
 */
function isOurs({ runner, host, attempt, bundle }: RunnerFacts, held: number): boolean {
  if (runner.is === 'bound') return held === attempt || host.state !== 'vanished';
  return held === attempt && (bundle !== undefined || host.state !== 'vanished');
}

/**
 * Without a fresh Lease the controller may take the host for lost, and speaks for its Runners then: two who tell
 * would contradict each other for ever.
 */
const tell = (facts: RunnerFacts, runner: Stored<Runner>, outcome?: Outcome): StatusDecision =>
  facts.leaseFresh ? desiredStatus(facts, runner, outcome) : {};

/** The next steps of a Runner that goes on. */
function progress(facts: RunnerFacts, runner: Stored<Runner>): Action[] {
  const { bundle, session } = facts;
  if (session.launch.state === 'running') return [];
  if (bundle === undefined) return launch(facts);
  switch (bundle.stage) {
    case 'Preparing':
    case 'Prepared':
      return resumeLaunch(facts);
    case 'Started':
      return progressStarted(facts, runner, bundle);
    case 'TearingDown':
      return destroy(facts);
    case 'Purged':
      return [{ do: 'dropTombstone' }];
  }
}

function launch(facts: RunnerFacts): Action[] {
  if (!facts.leaseFresh || facts.vm === 'unknown') return [];
  if (facts.vm !== 'absent') return destroy(facts);
  return facts.host.isCleared ? [{ do: 'launch' }] : [];
}

function resumeLaunch(facts: RunnerFacts): Action[] {
  if (facts.vm === 'unknown') return [];
  return facts.vm === 'present' ? [{ do: 'recordStart' }] : destroy(facts);
}

function progressStarted(facts: RunnerFacts, runner: Stored<Runner>, bundle: BundleFacts): Action[] {
  if (facts.vm !== 'present') return [];
  const { ssh } = facts.session;
  if (bundle.sshReadyAt === undefined) return ssh.state === 'idle' ? [{ do: 'awaitSsh' }] : [];
  const begunAt = scriptBegunAt(facts);
  if (begunAt !== undefined && bundle.scriptStartedAt === undefined)
    return [{ do: 'recordScript', at: begunAt }];
  const actions: Action[] = [];
  if (ssh.state === 'idle' && awaitsScript(facts, runner)) actions.push({ do: 'reconnect' });
  if (ssh.state === 'connected') actions.push(...progressScript(facts, runner, bundle));
  const ready = readiness(facts, runner);
  if (bundle.readyAt === undefined && ready !== undefined) actions.push({ do: 'recordReady', reason: ready });
  return actions;
}

/** Line 6, the gate: only the API server's own word that this attempt may run the script starts it. */
function progressScript(facts: RunnerFacts, runner: Stored<Runner>, bundle: BundleFacts): Action[] {
  const { script, scriptWatched } = facts.session;
  if (runner.spec.setupScript === undefined) return [];
  if (runner.status?.scriptAttempt !== bundle.attempt) return [];
  switch (script.state) {
    case 'unobserved':
      return mayStartScript(facts, bundle) ? startScript(facts) : [{ do: 'observeScript' }];
    case 'absent':
    case 'incomplete':
      return mayStartScript(facts, bundle) ? startScript(facts) : [];
    case 'running':
      return scriptWatched ? [] : [{ do: 'watchScript' }];
    case 'starting':
    case 'impossible':
    case 'exited':
    case 'vanished':
      return [];
  }
}

/** When the script was first seen to have begun; its own beginning is nobody's to tell. */
function scriptBegunAt({ now, session: { script } }: RunnerFacts): number | undefined {
  if (script.state === 'exited') return script.at;
  return script.state === 'running' ? now : undefined;
}

const startScript = (facts: RunnerFacts): Action[] => (facts.leaseFresh ? [{ do: 'startScript' }] : []);

/** Ready: the script exited 0, or the guest agent tells of a runner that takes jobs, whichever is first. */
export function readiness(facts: RunnerFacts, runner: Runner): ReadyReason | undefined {
  if (runner.spec.setupScript === undefined) return 'NoScript';
  const { script, guest } = facts.session;
  if (script.state === 'exited' && script.exitCode === 0) return 'ScriptSucceeded';
  if (guest?.state === 'Idle' || guest?.state === 'Running') return 'RunnerRegistered';
  return undefined;
}

/** The shortest of the delays; undefined where there is none. */
export function earliest(...delaysMs: readonly (number | undefined)[]): number | undefined {
  const known = delaysMs.filter((delay): delay is number => delay !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}
