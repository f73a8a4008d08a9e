import { expect, test } from 'vitest';
import { ApiError, ApiUnreachable } from '../kube/errors.ts';
import type { Logger } from '../kube/log.ts';
import { ManualClock } from '../kube/testing/manual-clock.ts';
import { logFailedWrite, ProblemLog } from './problems.ts';

class Lines implements Logger {
  readonly lines: string[] = [];
  debug(): void {}
  info(_: object, message: string): void {
    this.lines.push(`info ${message}`);
  }
  warn(_: object, message: string): void {
    this.lines.push(`warn ${message}`);
  }
  error(_: object, message: string): void {
    this.lines.push(`error ${message}`);
  }
}

const away = new ApiUnreachable('https://x', 'Refused', 'connection refused');
const forbidden = new ApiError(403, 'Forbidden', 'runners is forbidden');

test('an outage is said once, however many find out, and its end once', async () => {
  const log = new Lines();
  const clock = new ManualClock();
  let isWell = false;
  const problems = new ProblemLog({ log, clock, isWell: () => isWell });
  for (let failures = 1; failures <= 50; failures += 1) {
    for (const kind of ['runners', 'templates'])
      problems.report(kind, { error: away, failures, retryInMs: 1_000 });
    await clock.advance(1_000);
  }
  expect(log.lines).toEqual(['warn cannot follow the API server; it is tried until it can be followed']);
  problems.report('runners', { error: forbidden, failures: 51, retryInMs: 1_000 });
  expect(log.lines).toHaveLength(2);
  isWell = true;
  await clock.advance(60_000);
  expect(log.lines.slice(2)).toEqual(['info the API server can be followed again']);
  expect(clock.timers).toBe(0);
});

test('a watch that begins anew is no news', async () => {
  const log = new Lines();
  const clock = new ManualClock();
  const problems = new ProblemLog({ log, clock, isWell: () => true });
  problems.report('runners', { error: new ApiError(410, 'Expired', 'too old'), failures: 1, retryInMs: 0 });
  await clock.advance(60_000);
  expect(log.lines).toEqual([]);
});

test('a failed write is worth a line when it goes on failing, and a bug always', () => {
  const log = new Lines();
  const fields = { failures: 1, retryInMs: 1 };
  logFailedWrite(log, new ApiError(409, 'Conflict', 'changed'), { ...fields, failures: 3 }, 'write');
  logFailedWrite(log, away, { ...fields, failures: 3 }, 'write');
  logFailedWrite(log, forbidden, fields, 'write');
  expect(log.lines).toEqual([]);
  logFailedWrite(log, forbidden, { ...fields, failures: 3 }, 'write');
  logFailedWrite(log, new TypeError('x is not a function'), fields, 'write');
  expect(log.lines).toEqual(['warn write', 'error write']);
});
