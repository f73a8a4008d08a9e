import { countedFailures, hasPassedGate, isCounted, withFailure } from '../../crds/attempts.ts';
import type { FailedAttempt, Runner } from '../../crds/runner.ts';
import { clipped } from './conditions.ts';
import type { Outcome, RunnerFacts } from './facts.ts';

/**
 * Whether an outcome ends one attempt only, so that another may follow: nothing was permitted to run in the VM yet,
 * the Runner has time left, and `spec.startAttempts` allows for one more failure. Line 10 of the binding protocol.
 */
export function startsAnew(runner: Runner, outcome: Pick<Outcome, 'phase' | 'reason'>): boolean {
  if (!isFailedStart(runner, outcome)) return false;
  return !isCounted(outcome) || countedFailures(runner.status?.attempts) + 1 < runner.spec.startAttempts;
}

/** Behind the gate a failure is the Runner's own, and so is the end of its time anywhere. */
const isFailedStart = (runner: Runner, { phase, reason }: Pick<Outcome, 'phase' | 'reason'>): boolean =>
  phase === 'Error' && reason !== 'DeadlineExceeded' && !hasPassedGate(runner);

/** `status.attempts` after the outcome, which ended the bound attempt: as it was where that was no failed start. */
export function attemptsAfter(
  facts: Pick<RunnerFacts, 'host' | 'now'>,
  runner: Runner,
  outcome: Outcome,
): FailedAttempt[] | undefined {
  const before = runner.status?.attempts;
  if (!isFailedStart(runner, outcome)) return before;
  return withFailure(before, {
    attempt: runner.spec.binding?.attempt ?? 1,
    hostName: facts.host.name,
    reason: outcome.reason,
    message: clipped(outcome.message),
    finishedAt: new Date(facts.now).toISOString(),
  });
}
