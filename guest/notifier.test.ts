import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { createNotifier, dueReport, retryDelayMs } from './notifier.ts';
import type { GuestReport, GuestRunnerState } from './protocol.ts';

const current = (state: GuestRunnerState) => ({ mac: '52:54:00:00:00:01', ip: '10.0.2.15', state });

describe('dueReport', () => {
  test('is Ready first, with whatever the state is by then', () => {
    const needs = { readyDelivered: false, delivered: undefined, current: current('Idle') };
    expect(dueReport(needs)).toEqual({ ...current('Idle'), event: 'Ready' });
  });

  test('is nothing while the host knows everything', () => {
    const needs = { readyDelivered: true, delivered: current('Idle'), current: current('Idle') };
    expect(dueReport(needs)).toBeUndefined();
  });

  test.each([
    ['state', { ...current('Running') }],
    ['name', { ...current('Idle'), runnerName: 'runner-1' }],
    ['address', { ...current('Idle'), ip: '10.0.2.16' }],
  ])('is State when the %s changed', (_, next) => {
    const needs = { readyDelivered: true, delivered: current('Idle'), current: next };
    expect(dueReport(needs)).toEqual({ ...next, event: 'State' });
  });
});

test('retryDelayMs grows, spreads and stays bounded', () => {
  fc.assert(
    fc.property(
      fc.nat({ max: 10_000 }),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (failures, random) => {
        const delay = retryDelayMs(failures, random);
        expect(delay).toBeGreaterThanOrEqual(50);
        expect(delay).toBeLessThanOrEqual(5_000);
      },
    ),
  );
  expect(retryDelayMs(0, 0)).toBeLessThan(retryDelayMs(4, 0));
});

describe('createNotifier', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  /** A host that refuses the first reports and keeps what it accepted. */
  function host(refusals: number) {
    const accepted: GuestReport[] = [];
    let asked = 0;
    const send = async (report: GuestReport): Promise<boolean> => {
      asked += 1;
      if (asked <= refusals) return false;
      accepted.push(report);
      return true;
    };
    return { send, accepted, asked: () => asked };
  }

  test('tries again until the host accepts, then sends only the newest state', async () => {
    const { send, accepted } = host(5);
    const notifier = createNotifier(send);
    notifier.update(current('NoRunner'));
    await vi.advanceTimersByTimeAsync(10);
    notifier.update(current('Starting'));
    notifier.update(current('Idle'));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(accepted.map(({ event, state }) => [event, state])).toEqual([['Ready', 'Idle']]);
  });

  test('sends a state that changed while the last report was under way', async () => {
    const accepted: GuestReport[] = [];
    const notifier = createNotifier(async (report) => {
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      accepted.push(report);
      return true;
    });
    notifier.update(current('Idle'));
    await vi.advanceTimersByTimeAsync(500);
    notifier.update(current('Running'));
    await vi.advanceTimersByTimeAsync(10_000);
    expect(accepted.map(({ event, state }) => [event, state])).toEqual([
      ['Ready', 'Idle'],
      ['State', 'Running'],
    ]);
  });

  test('asks nothing of the host when nothing changed', async () => {
    const { send, asked } = host(0);
    const notifier = createNotifier(send);
    notifier.update(current('Idle'));
    await vi.advanceTimersByTimeAsync(1_000);
    notifier.update(current('Idle'));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(asked()).toBe(1);
  });
});
