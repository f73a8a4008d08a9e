import { type FailedAttempt, MOST_FAILED_ATTEMPTS, type Runner } from './runner.ts';

/** What a host, or whoever deleted it, did to the attempt, through no fault of the start: not counted against `startAttempts`. */
const UNCOUNTED_REASONS: readonly string[] = ['OutOfCapacity', 'HostNeedsReboot', 'HostDeleted'];

export const isCounted = ({ reason }: Pick<FailedAttempt, 'reason'>): boolean =>
  !UNCOUNTED_REASONS.includes(reason);

/** How many attempts count against `spec.startAttempts`. */
export const countedFailures = (attempts: readonly FailedAttempt[] | undefined): number =>
  (attempts ?? []).filter(isCounted).length;

/** Whether the Runner's life has ended; its object may still be there. */
export const isOver = ({ status }: Pick<Runner, 'status'>): boolean =>
  status?.phase === 'Finished' || status?.phase === 'Error';

/** Whether the bound attempt has failed, and nothing is left of it: the Runner waits to be bound anew, or is over. */
export function hasFailed({ spec: { binding }, status }: Runner): boolean {
  return binding !== undefined && (status?.attempts ?? []).some(({ attempt }) => attempt === binding.attempt);
}

/** Whether the bound attempt was permitted to run the setup script: from then on no other is ever bound. */
export const hasPassedGate = ({ spec: { binding }, status }: Runner): boolean =>
  binding !== undefined && status?.scriptAttempt === binding.attempt;

/** The list with one more entry; where it would be too long, the oldest that does not count goes. */
export function withFailure(
  attempts: readonly FailedAttempt[] | undefined,
  failed: FailedAttempt,
): FailedAttempt[] {
  const others = (attempts ?? []).filter(({ attempt }) => attempt !== failed.attempt);
  if (others.length < MOST_FAILED_ATTEMPTS) return [...others, failed];
  const dropped = others.find((one) => !isCounted(one)) ?? others[0];
  return [...others.filter((one) => one !== dropped), failed];
}
