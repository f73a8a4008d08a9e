import { afterEach, expect, test } from 'vitest';
import type { Logger } from '../../kube/log.ts';
import { ManualClock, settle } from '../../kube/testing/manual-clock.ts';
import type { Capabilities } from '../vm/driver.ts';
import { Prober } from './prober.ts';

const tcg: Capabilities = { version: '7.2.0', accelerator: 'tcg', reflink: false };
const kvm: Capabilities = { ...tcg, accelerator: 'kvm' };

const probers: Prober[] = [];
afterEach(() => {
  for (const prober of probers.splice(0)) prober.stop();
});

/** A prober whose driver answers when the test says so. */
function proberOf(clock: ManualClock) {
  const lines: string[] = [];
  const line = (_: object, message: string) => void lines.push(message);
  const log: Logger = { debug: line, info: line, warn: line, error: line };
  const tries: PromiseWithResolvers<Capabilities>[] = [];
  const driver = {
    name: 'qemu' as const,
    probe: () => {
      const answer = Promise.withResolvers<Capabilities>();
      tries.push(answer);
      return answer.promise;
    },
  };
  let changes = 0;
  const prober = new Prober({ driver, clock, log, changed: () => (changes += 1) });
  probers.push(prober);
  return { prober, tries, lines, changes: () => changes };
}

test('the answer to a probe', async () => {
  const clock = new ManualClock();
  const { prober, tries, changes } = proberOf(clock);
  prober.probe();
  expect(prober.result()).toEqual({ state: 'running' });
  tries[0]?.resolve(tcg);
  await prober.settled;
  expect(prober.result()).toEqual({ state: 'works', capabilities: tcg });
  expect(changes()).toBe(1);
  await settle();
  expect(clock.timers).toBe(0);
});

test('asked again while it tries: once more afterwards, and the old answer stands meanwhile', async () => {
  const clock = new ManualClock();
  const { prober, tries } = proberOf(clock);
  prober.probe();
  prober.probe();
  prober.probe();
  expect(tries).toHaveLength(1);
  tries[0]?.resolve(tcg);
  await settle();
  expect(tries).toHaveLength(2);
  expect(prober.result()).toMatchObject({ capabilities: tcg });
  tries[1]?.resolve(kvm);
  await settle();
  expect(prober.result()).toMatchObject({ capabilities: kvm });
  expect(tries).toHaveLength(2);
});

test('a failure is told once and tried again, more and more rarely', async () => {
  const clock = new ManualClock();
  const { prober, tries, lines } = proberOf(clock);
  prober.probe();
  const waits: number[] = [];
  for (let failure = 0; failure < 12; failure += 1) {
    tries.at(-1)?.reject(new Error('not installed'));
    await settle();
    expect(prober.result()).toEqual({ state: 'failed', message: 'not installed' });
    waits.push(clock.nextIn ?? 0);
    await clock.advance(clock.nextIn ?? 0);
    expect(tries).toHaveLength(failure + 2);
  }
  expect(waits[0]).toBeLessThanOrEqual(1_000);
  expect(Math.max(...waits)).toBeLessThanOrEqual(300_000);
  expect(waits.at(-1)).toBeGreaterThanOrEqual(150_000);
  expect(lines).toEqual(['no VM can be started: not installed']);
  tries.at(-1)?.resolve(tcg);
  await settle();
  expect(prober.result()).toMatchObject({ state: 'works' });
  expect(clock.timers).toBe(0);
});

test('a driver that does not answer counts as failed until it does; it is not tried twice at once', async () => {
  const clock = new ManualClock();
  const { prober, tries } = proberOf(clock);
  prober.probe();
  await clock.advance(120_000);
  expect(prober.result()).toEqual({ state: 'failed', message: 'the driver qemu does not answer' });
  await clock.advance(600_000);
  expect(tries).toHaveLength(1);
  tries[0]?.resolve(kvm);
  await settle();
  expect(prober.result()).toMatchObject({ state: 'works' });
});

test('after the end nothing is tried, and a late answer is dropped', async () => {
  const clock = new ManualClock();
  const { prober, tries, changes } = proberOf(clock);
  prober.probe();
  prober.stop();
  expect(clock.timers).toBe(0);
  tries[0]?.reject(new Error('late'));
  await settle();
  prober.probe();
  expect(tries).toHaveLength(1);
  expect(changes()).toBe(0);
  expect(clock.timers).toBe(0);
});
