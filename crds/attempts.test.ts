import fc from 'fast-check';
import { expect, test } from 'vitest';
import { linuxHost } from '../test/builders/host.ts';
import { boundRunner, runner } from '../test/builders/runner.ts';
import { countedFailures, hasFailed, hasPassedGate, isCounted, withFailure } from './attempts.ts';
import { type FailedAttempt, MOST_FAILED_ATTEMPTS } from './runner.ts';

const failure = (attempt: number, reason = 'CloneFailed'): FailedAttempt => ({
  attempt,
  hostName: 'h',
  reason,
  message: 'no room',
  finishedAt: '2026-01-01T00:00:00Z',
});
const host = linuxHost();

test('only the bound attempt makes a Runner wait anew', () => {
  const bound = (attempt: number, attempts: FailedAttempt[]) =>
    boundRunner(host, { spec: { binding: { attempt } }, status: { attempts } });
  expect(hasFailed(bound(1, [failure(1)]))).toBe(true);
  expect(hasFailed(bound(2, [failure(1)]))).toBe(false);
  expect(hasFailed(bound(1, []))).toBe(false);
  expect(hasFailed(runner({ status: { attempts: [failure(1)] } }))).toBe(false);
});

test('the gate is passed by the bound attempt only', () => {
  const bound = (scriptAttempt?: number) => boundRunner(host, { status: { scriptAttempt } });
  expect([bound(1), bound(), runner()].map(hasPassedGate)).toEqual([true, false, false]);
});

test('what a host could not take, or was deleted with, counts for nothing', () => {
  const unfit = ['OutOfCapacity', 'HostNeedsReboot', 'HostDeleted'].map((reason, at) =>
    failure(at + 2, reason),
  );
  const attempts = [failure(1), ...unfit];
  expect(countedFailures(attempts)).toBe(1);
  expect(countedFailures(undefined)).toBe(0);
});

test('the list is bounded, holds the newest, and loses none that counts before one that does not', () => {
  const reasons = fc.array(fc.constantFrom('CloneFailed', 'OutOfCapacity', 'OutOfCapacity'), {
    minLength: 1,
    maxLength: 60,
  });
  fc.assert(
    fc.property(reasons, (each) => {
      const all = each.map((reason, index) => failure(index + 1, reason));
      const kept = all.reduce<FailedAttempt[]>((list, one) => withFailure(list, one), []);
      expect(kept.length).toBeLessThanOrEqual(MOST_FAILED_ATTEMPTS);
      expect(kept.at(-1)).toEqual(all.at(-1));
      expect(kept.map(({ attempt }) => attempt)).toEqual(
        kept.map(({ attempt }) => attempt).toSorted((a, b) => a - b),
      );
      const lost = all.filter((one) => !kept.includes(one));
      const sparesUncounted = kept.slice(0, -1).some((one) => !isCounted(one));
      if (sparesUncounted) expect(lost.every((one) => !isCounted(one))).toBe(true);
    }),
  );
});

test('the same attempt is told of once', () => {
  expect(withFailure([failure(1)], failure(1, 'BootTimeout'))).toEqual([failure(1, 'BootTimeout')]);
});
