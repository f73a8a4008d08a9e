import { holdsOf } from '../../crds/meta.ts';
import type { Runner } from '../../crds/runner.ts';
import { getCondition, isTrue } from '../../kube/conditions.ts';
import type { Stored } from '../../kube/object.ts';
import type { Events } from '../events.ts';
import { givenUp, HOST_DECLARED_DEAD, HOST_DELETED, HOST_LOST } from './decide.ts';

/** `before`: the Runner as it was when it was decided to bind it. */
export function tellBound(events: Events, before: Stored<Runner>, message: string): void {
  const why = givenUp(before);
  if (why !== undefined) events.warning(before, HOST_LOST, why);
  events.normal(before, 'Bound', message);
}

/** Finalizers of hosts that were declared dead were removed. */
export function tellReleased(events: Events, runner: Stored<Runner>, released: readonly string[]): void {
  const holds = holdsOf(runner.metadata).filter(({ finalizer }) => released.includes(finalizer));
  const hosts = [...new Set(holds.map(({ hostName }) => hostName))].join(' and ');
  const note = `host ${hosts} was deleted and does not renew its Lease: what ran there counts as gone`;
  events.warning(runner, HOST_DECLARED_DEAD, note);
}

/** What a status that the controller wrote says for the first time. */
export function tellWritten(events: Events, before: Stored<Runner>, after: Stored<Runner>): void {
  tellWhyUnbound(events, before, after);
  tellHostDeleted(events, before, after);
}

/**
 * One Event per reason, with the words of the moment; new counts alone are news for the condition only. What
 * was told before a restart stands in the condition, which is written at most every RETELL_AFTER_MS.
 */
function tellWhyUnbound(events: Events, before: Stored<Runner>, after: Stored<Runner>): void {
  const bound = getCondition(after.status?.conditions, 'Bound');
  if (bound?.status !== 'False') return;
  if (bound.reason === getCondition(before.status?.conditions, 'Bound')?.reason) return;
  events.warning(after, bound.reason, bound.message);
}

function tellHostDeleted(events: Events, before: Stored<Runner>, after: Stored<Runner>): void {
  const stalled = getCondition(after.status?.conditions, 'Stalled');
  if (stalled?.reason !== HOST_DELETED || isTrue(before.status?.conditions, 'Stalled')) return;
  events.warning(after, stalled.reason, stalled.message);
}
