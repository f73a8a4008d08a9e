import type { Condition } from '../../crds/meta.ts';
import type { FailedAttempt, Runner, RunnerStatus } from '../../crds/runner.ts';
import { getCondition, isTrue } from '../../kube/conditions.ts';
import { isConflict } from '../../kube/errors.ts';
import type { Stored } from '../../kube/object.ts';
import type { Outcome } from './facts.ts';
import { startsAnew } from './failed-start.ts';
import type { Observation } from './observe.ts';
import type { RunnerPorts } from './ports.ts';
import type { VmSession } from './session.ts';

/** The one write of a pass. With it the gate is passed where the status says so for the first time. */
export async function writeStatus(
  ports: RunnerPorts,
  observation: Observation,
  runner: Stored<Runner>,
  status: RunnerStatus,
): Promise<Stored<Runner>> {
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
  { events }: RunnerPorts,
  runner: Stored<Runner>,
  before: RunnerStatus | undefined,
  after: RunnerStatus,
): void {
  const finished = became('Finished', before, after);
  if (finished !== undefined) {
    if (after.phase === 'Finished') events.normal(runner, 'Finished', finished.message);
    else events.warning(runner, finished.reason, finished.message);
    return;
  }
  const failed = after.attempts?.find(({ attempt }) => attempt === after.attempt);
  const isNew = !before?.attempts?.some(({ attempt }) => attempt === failed?.attempt);
  if (failed !== undefined && isNew) events.warning(runner, failed.reason, noteOfFailure(failed));
}

/** What went well is told by the name of its condition, what failed by its reason. */
export function tellOutcome({ events }: RunnerPorts, runner: Stored<Runner>, outcome: Outcome): void {
  const { phase, reason, message } = outcome;
  if (phase === 'Finished') events.normal(runner, 'Finished', message);
  else if (!startsAnew(runner, outcome)) events.warning(runner, reason, message);
  else events.warning(runner, reason, noteOfFailure({ attempt: runner.spec.binding?.attempt ?? 1, message }));
}

const noteOfFailure = ({ attempt, message }: Pick<FailedAttempt, 'attempt' | 'message'>): string =>
  `attempt ${attempt} has failed: ${message}`;

/** The condition, where it was not True before and is now. */
function became(type: string, before: RunnerStatus | undefined, after: RunnerStatus): Condition | undefined {
  if (isTrue(before?.conditions, type) || !isTrue(after.conditions, type)) return undefined;
  return getCondition(after.conditions, type);
}
