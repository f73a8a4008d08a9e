import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type Attempt,
  type AttemptsState,
  BLIND_LIMIT_MS,
  HEDGE_MS,
  LOGIN_LIMIT_MS,
  MAX_SILENT,
  MIN_INTERVAL_MS,
  nextStep,
  PATIENCE_MS,
  PATIENT_EVERY,
  PATIENT_SILENCE_LIMIT_MS,
  REFUSAL_PAUSE_MS,
  SILENCE_LIMIT_MS,
} from './attempts.ts';

const INTERVAL_MS = 100;
const NOW = 100_000;

const state = (changes: Partial<AttemptsState> = {}): AttemptsState => ({
  open: [],
  nudged: false,
  ...changes,
});
const silent = (id: number, startedAt: number): Attempt => ({ id, startedAt });
const step = (changes: Partial<AttemptsState>, now = NOW) => nextStep(state(changes), INTERVAL_MS, now);

/** Whether an attempt is due `ms` after the last one was started, and not a moment before. */
function expectDueAfter(ms: number, changes: Partial<AttemptsState>): void {
  const lastStart = NOW;
  expect(step({ lastStart, ...changes }, lastStart + ms - 1).start).toBe(false);
  expect(step({ lastStart, ...changes }, lastStart + ms).start).toBe(true);
}

describe('nextStep starts', () => {
  test('the first attempt at once', () => {
    expect(step({})).toMatchObject({ start: true, close: [] });
  });

  test('a further one beside those that nothing answers', () => {
    expectDueAfter(INTERVAL_MS, { firstStart: NOW - 2_000, open: [silent(1, NOW - 300), silent(2, NOW)] });
  });

  test('a further one less often as time goes by', () => {
    expectDueAfter(300, { firstStart: NOW - 30_000, open: [silent(1, NOW)] });
    expectDueAfter(BLIND_LIMIT_MS, { firstStart: NOW - 90_000, open: [silent(1, NOW)] });
  });

  test('the next one an interval after the last was refused', () => {
    expectDueAfter(5 + INTERVAL_MS, { lastFailure: { at: NOW + 5, refusal: false }, answeredAt: NOW + 5 });
  });

  test('the next one so even while older ones hang, which were made before the network was up', () => {
    const open = [silent(1, NOW - 500), silent(2, NOW - 250)];
    expectDueAfter(5 + INTERVAL_MS, {
      open,
      lastFailure: { at: NOW + 5, refusal: false },
      answeredAt: NOW + 5,
    });
  });

  test('none beside one that is silent in a guest that had answered: a server is at work on it', () => {
    expectDueAfter(PATIENCE_MS, { open: [silent(1, NOW)], answeredAt: NOW - 100 });
  });

  test('blindly again where the answer is too old to have come from a server that starts', () => {
    expectDueAfter(INTERVAL_MS, { open: [silent(1, NOW)], answeredAt: NOW - 10_000 });
  });

  test('one at the report of the guest, though others are silent', () => {
    expectDueAfter(MIN_INTERVAL_MS, { open: [silent(1, NOW)], nudged: true, answeredAt: NOW + 10 });
  });

  test('none beside a login that is under way, until that is overdue', () => {
    const open = [{ id: 1, startedAt: NOW, greetedAt: NOW + 400 }];
    expectDueAfter(400 + HEDGE_MS, { open, nudged: true, answeredAt: NOW + 400 });
  });

  test('the next one later after the server refused the login', () => {
    expectDueAfter(5 + REFUSAL_PAUSE_MS, {
      lastFailure: { at: NOW + 5, refusal: true },
      answeredAt: NOW + 5,
    });
  });
});

describe('nextStep gives up', () => {
  test('what was silent for too long; every so many get longer', () => {
    const open = [
      silent(PATIENT_EVERY, NOW - SILENCE_LIMIT_MS),
      silent(1, NOW - SILENCE_LIMIT_MS),
      silent(2, NOW),
    ];
    expect(step({ open, lastStart: NOW }).close).toEqual([1]);
    expect(step({ open, lastStart: NOW }, NOW - SILENCE_LIMIT_MS + PATIENT_SILENCE_LIMIT_MS).close).toContain(
      PATIENT_EVERY,
    );
  });

  test('all but the newest that are silent, and but the oldest that gets longer', () => {
    const open = [0, 1, PATIENT_EVERY, PATIENT_EVERY + 1, PATIENT_EVERY + 2, PATIENT_EVERY + 3].map((id) =>
      silent(id, NOW - 900 + id),
    );
    const { close } = step({ open, lastStart: NOW });
    expect(close).toEqual([1, PATIENT_EVERY]);
    expect(open.length - close.length).toBe(MAX_SILENT + 1);
  });

  test('those that are silent beside one that is served', () => {
    const open = [silent(1, NOW - 200), { id: 2, startedAt: NOW - 100, greetedAt: NOW }, silent(3, NOW)];
    expect(step({ open, lastStart: NOW }).close).toEqual([1, 3]);
  });

  test('a login that gets stuck', () => {
    const open = [{ id: 1, startedAt: NOW, greetedAt: NOW }];
    expect(step({ open, lastStart: NOW }, NOW + LOGIN_LIMIT_MS).close).toEqual([1]);
  });
});

describe('any peer', () => {
  type Event = 'refuse' | 'greet' | 'nudge' | 'auth' | 'nothing';
  const events = fc.array(
    fc.record({
      afterMs: fc.integer({ min: 0, max: 4_000 }),
      event: fc.constantFrom<Event[]>('refuse', 'greet', 'nudge', 'auth', 'nothing'),
    }),
    { maxLength: 60 },
  );

  interface Run {
    readonly starts: number[];
    readonly mostOpen: number;
    readonly end: number;
  }

  /** Plays the events against the policy, as wait.ts would. */
  function play(script: readonly { readonly afterMs: number; readonly event: Event }[]): Run {
    let now = 0;
    let current = state();
    let count = 0;
    let mostOpen = 0;
    const starts: number[] = [];
    const settle = (until: number): void => {
      for (;;) {
        const { start, close, wakeInMs } = nextStep(current, INTERVAL_MS, now);
        expect(wakeInMs).toBeGreaterThan(0);
        current = { ...current, open: current.open.filter(({ id }) => !close.includes(id)) };
        if (start) {
          current = {
            ...current,
            open: [...current.open, silent(count++, now)],
            firstStart: current.firstStart ?? now,
            lastStart: now,
            nudged: false,
          };
          starts.push(now);
        }
        mostOpen = Math.max(mostOpen, current.open.length);
        if (now + wakeInMs > until) break;
        now += wakeInMs;
      }
      now = until;
    };
    for (const { afterMs, event } of script) {
      settle(now + afterMs);
      const newest = current.open.at(-1);
      if (event === 'nudge') current = { ...current, nudged: true, answeredAt: now };
      if (newest === undefined || event === 'nothing' || event === 'nudge') continue;
      const others = current.open.slice(0, -1);
      if (event === 'greet') {
        current = { ...current, open: [...others, { ...newest, greetedAt: now }], answeredAt: now };
      } else {
        current = {
          ...current,
          open: others,
          answeredAt: now,
          lastFailure: { at: now, refusal: event === 'auth' },
        };
      }
    }
    settle(now);
    return { starts, mostOpen, end: now };
  }

  test('is tried again without end, and never by more attempts than a bound', () => {
    fc.assert(
      fc.property(events, (script) => {
        const { starts, mostOpen, end } = play(script);
        expect(mostOpen).toBeLessThanOrEqual(40);
        const gaps = [...starts, end].map((at, index) => at - (starts[index - 1] ?? 0));
        expect(Math.max(...gaps)).toBeLessThanOrEqual(LOGIN_LIMIT_MS);
      }),
    );
  });

  test('is not hammered', () => {
    fc.assert(
      fc.property(events, (script) => {
        const { starts } = play(script);
        for (const [index, at] of starts.entries()) {
          if (index > 0) expect(at - (starts[index - 1] ?? 0)).toBeGreaterThanOrEqual(MIN_INTERVAL_MS);
        }
      }),
    );
  });
});
