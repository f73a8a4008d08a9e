import { hasFailed, isOver } from '../../crds/attempts.ts';
import type { FailedAttempt, Runner, RunnerPhase } from '../../crds/runner.ts';
import type { Template } from '../../crds/template.ts';
import type { KubeEvent } from '../../kube/events.ts';
import type { Stored } from '../../kube/object.ts';
import { type Situation, situationOf } from './situation.ts';
import { type Step, stepsOf } from './steps.ts';
import { presentStatus, timesOf } from './times.ts';

/** What became of one Runner and what it waits for, as data. */
export interface Trace {
  readonly namespace: string;
  readonly name: string;
  readonly uid: string;
  readonly phase: RunnerPhase;
  readonly deleting: boolean;
  readonly host?: string | undefined;
  readonly attempt?: number | undefined;
  readonly createdAt: string;
  /** The oldest first. */
  readonly failedStarts?: readonly FailedAttempt[] | undefined;
  readonly steps: readonly Step[];
  /** From creation until the VM was observed gone, or until now. */
  readonly totalMs: number;
  readonly now: Situation;
  /** What the setup script wrote last, where that is kept. */
  readonly outputTail?: string | undefined;
}

/** Pure. `events`: those that regard this very Runner, in any order. `now`: epoch milliseconds. `template`: the one that it names. */
export function traceOf(
  runner: Stored<Runner>,
  events: readonly KubeEvent[],
  now: number,
  template?: Template,
): Trace {
  const { uid, name, namespace = 'default', creationTimestamp, deletionTimestamp } = runner.metadata;
  const { binding } = runner.spec;
  const isBound = binding !== undefined && (isOver(runner) || !hasFailed(runner));
  const attempts = runner.status?.attempts ?? [];
  const ordered = events.toSorted((a, b) => Date.parse(a.eventTime) - Date.parse(b.eventTime));
  const times = timesOf(runner, ordered);
  const { setup } = presentStatus(runner);
  const end = isOver(runner) ? (times.gone ?? times.over) : undefined;
  return {
    namespace,
    name,
    uid,
    phase: runner.status?.phase ?? 'Pending',
    deleting: deletionTimestamp !== undefined,
    ...(isBound && { host: binding.hostName, attempt: binding.attempt }),
    ...(attempts.length > 0 && { failedStarts: attempts }),
    createdAt: creationTimestamp,
    steps: stepsOf(runner, times, ordered, now),
    totalMs: Math.max(0, (end?.at ?? now) - times.created.at),
    now: situationOf(runner, now, template),
    ...(setup?.outputTail !== undefined && { outputTail: setup.outputTail }),
  };
}
