import { DEADLINE_EXCEEDED, HOST_DECLARED_DEAD, HOST_DELETED } from '../../controller/runner/decide.ts';
import type { Runner } from '../../crds/runner.ts';
import type { KubeEvent } from '../../kube/events.ts';
import { type Moment, presentStatus, type Times } from './times.ts';

/** One part of a Runner's life, in the order in which they come. */
export interface Step {
  readonly step: 'host' | 'clone' | 'start' | 'boot' | 'setup' | 'use' | 'teardown';
  /** Broken off: the Runner was over, or was deleted, before this part was. */
  readonly state: 'done' | 'under way' | 'broken off';
  readonly ms: number;
  /** False where a time is known to the second only, or from what came shortly after. */
  readonly exact: boolean;
  /** Of `host`: what stood in the way, one after the other. */
  readonly reasons?: readonly WaitReason[] | undefined;
  /** Of `setup`. */
  readonly exitCode?: number | undefined;
}

export interface WaitReason {
  readonly reason: string;
  readonly note: string;
  readonly ms: number;
}

/** The parts that have begun, with how long each took, or has taken until now. */
export function stepsOf(
  runner: Runner,
  times: Times,
  events: readonly KubeEvent[],
  now: number,
): readonly Step[] {
  const { timings, setup } = presentStatus(runner);
  const { created, bound, started, sshReady, ready, over, gone } = times;
  const part = partsUntil(over, now);
  const hasScript = runner.spec.setupScript !== undefined;
  const reasons = reasonsOf(events, bound?.at ?? over?.at ?? now);
  return [
    ...part('host', created, bound).map((step) => ({ ...step, ...(reasons.length > 0 && { reasons }) })),
    ...part('clone', bound, started, timings?.cloneMs),
    ...startOf(times, timings?.cloneMs),
    ...part('boot', started, sshReady, timings?.bootToSshMs),
    ...(hasScript ? part('setup', sshReady, ready ?? endOfScript(runner, over), timings?.setupMs) : []).map(
      (step) => ({ ...step, ...(setup?.exitCode !== undefined && { exitCode: setup.exitCode }) }),
    ),
    ...part('use', ready, over),
    // What was never bound has no VM to destroy.
    ...(runner.spec.binding === undefined ? [] : partsUntil(undefined, now)('teardown', over, gone)),
  ];
}

type Part = (
  step: Step['step'],
  from: Moment | undefined,
  to: Moment | undefined,
  measuredMs?: number,
) => Step[];

/** Makes one step, or none where it has not begun. */
function partsUntil(over: Moment | undefined, now: number): Part {
  return (step, from, to, measuredMs) => {
    if (measuredMs !== undefined) return [{ step, state: 'done', ms: measuredMs, exact: true }];
    if (from === undefined) return [];
    const end = to ?? over;
    const state = to !== undefined ? 'done' : over !== undefined ? 'broken off' : 'under way';
    const ms = Math.max(0, (end?.at ?? now) - from.at);
    return [{ step, state, ms, exact: from.exact && (end?.exact ?? true) }];
  };
}

/** What the host did besides cloning: it took the Runner up, made its identity, and started the VM. */
function startOf({ bound, started }: Times, cloneMs: number | undefined): Step[] {
  if (bound?.exact !== true || started === undefined || cloneMs === undefined) return [];
  const ms = Math.max(0, started.at - bound.at - cloneMs);
  return [{ step: 'start', state: 'done', ms, exact: true }];
}

/** A script that is the job is done when the Runner is. */
const endOfScript = (runner: Runner, over: Moment | undefined): Moment | undefined =>
  presentStatus(runner).setup?.exitCode === undefined ? undefined : over;

/** What the controller warns of besides: no Runner waits for that. */
const NO_WAIT: readonly string[] = [DEADLINE_EXCEEDED, HOST_DELETED, HOST_DECLARED_DEAD];

/** The controller tells each new reason by an Event; it stood until the next one came. */
function reasonsOf(events: readonly KubeEvent[], until: number): WaitReason[] {
  const told = events.filter(
    ({ type, reason, reportingController }) =>
      type === 'Warning' && !NO_WAIT.includes(reason) && reportingController === 'shoesvz.dev/controller',
  );
  return told.map(({ reason, note, eventTime }, index) => {
    const end = told[index + 1]?.eventTime;
    const ms = Math.max(0, (end === undefined ? until : Date.parse(end)) - Date.parse(eventTime));
    return { reason, note, ms };
  });
}
