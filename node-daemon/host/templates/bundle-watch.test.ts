import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { TemplateMetadata } from '../../vm/template.ts';
import { BundleWatch } from './bundle-watch.ts';
import { fingerprintOf } from './fingerprint.ts';
import type { Judgement } from './judge.ts';

let root: string;
let dir: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'bundle-'));
  dir = join(root, 'a');
  await mkdir(dir);
  await writeFile(join(dir, 'Disk.img'), 'disk');
});
afterEach(() => rm(root, { recursive: true, force: true }));

const metadata = {} as TemplateMetadata;

/** A clock whose timers fire when the test says so; wall and monotonic time are the same. */
class ManualClock {
  #now = Date.now();
  #timers: { due: number; callback: () => void }[] = [];
  now = () => this.#now;
  monotonic = () => this.#now;
  setTimeout(callback: () => void, ms: number) {
    const timer = { due: this.#now + Math.max(0, ms), callback };
    this.#timers.push(timer);
    return {
      cancel: () => {
        this.#timers = this.#timers.filter((each) => each !== timer);
      },
    };
  }
  /** Milliseconds to the next timer. */
  nextIn(): number | undefined {
    return this.#timers.length === 0 ? undefined : Math.min(...this.#timers.map((t) => t.due)) - this.#now;
  }
  advance(ms: number): void {
    this.#now += ms;
    const due = this.#timers.filter((timer) => timer.due <= this.#now);
    this.#timers = this.#timers.filter((timer) => timer.due > this.#now);
    for (const timer of due) timer.callback();
  }
}

/** A watch whose looks the test answers, one by one. */
function watched(clock: ManualClock) {
  const looks: { signal: AbortSignal; answer: (judgement: Judgement) => void }[] = [];
  const waiting: (() => void)[] = [];
  const arrived = (list: unknown[], count: number) =>
    new Promise<void>((resolve) => {
      const check = () => (list.length >= count ? resolve() : waiting.push(check));
      check();
    });
  const wake = () => waiting.splice(0).forEach((check) => void check());
  const verdicts: unknown[] = [];
  const watch = new BundleWatch({
    dir,
    clock,
    judge: (signal) =>
      new Promise((answer) => {
        looks.push({ signal, answer });
        wake();
      }),
    changed: () => {
      verdicts.push(watch.verdict());
      wake();
    },
  });
  return {
    watch,
    verdicts,
    looks,
    look: async (count: number) => {
      await arrived(looks, count);
      const look = looks[count - 1];
      if (look === undefined) throw new Error('no look');
      return look;
    },
    verdict: async (count: number) => {
      await arrived(verdicts, count);
      return verdicts[count - 1];
    },
  };
}

const healthy = async (): Promise<Judgement> => ({
  state: 'healthy',
  bundle: { dir, metadata },
  fingerprint: (await fingerprintOf(dir))?.value ?? '',
});

test('looks when the dust has settled, not at every touch', async () => {
  const clock = new ManualClock();
  const { watch, looks, look, verdict } = watched(clock);
  for (let touch = 0; touch < 10; touch += 1) {
    watch.touched();
    clock.advance(100);
  }
  expect(looks).toHaveLength(0);
  clock.advance(clock.nextIn() ?? 0);
  (await look(1)).answer(await healthy());
  expect(await verdict(1)).toEqual({ state: 'healthy', bundle: { dir, metadata } });
  expect(looks).toHaveLength(1);
});

test('a touch ends a look that is under way', async () => {
  const clock = new ManualClock();
  const { watch, verdicts, look, verdict } = watched(clock);
  watch.touched(0);
  clock.advance(0);
  const first = await look(1);
  watch.touched(0);
  expect(first.signal.aborted).toBe(true);
  first.answer(await healthy());
  clock.advance(0);
  (await look(2)).answer({ state: 'absent' });
  expect(await verdict(1)).toEqual({ state: 'absent' });
  expect(verdicts).toHaveLength(1);
});

test('what looks broken is given time to arrive, and only then called broken', async () => {
  const clock = new ManualClock();
  const { watch, verdicts, look, verdict } = watched(clock);
  const broken: Judgement = {
    state: 'broken',
    problem: 'Disk.img is missing',
    fingerprint: 'f',
    changedAt: clock.now(),
  };
  watch.touched(0);
  clock.advance(0);
  (await look(1)).answer(broken);
  await expect.poll(() => clock.nextIn()).toBe(5_000);
  expect(verdicts).toEqual([]);
  clock.advance(5_000);
  (await look(2)).answer(broken);
  expect(await verdict(1)).toEqual({ state: 'broken', problem: 'Disk.img is missing' });
  expect(clock.nextIn()).toBeUndefined();
});

test('a bundle that changed is withdrawn while it is judged anew', async () => {
  const clock = new ManualClock();
  const { watch, look, verdict } = watched(clock);
  watch.touched(0);
  clock.advance(0);
  (await look(1)).answer(await healthy());
  expect(await verdict(1)).toMatchObject({ state: 'healthy' });
  await writeFile(join(dir, 'Disk.img'), 'other');
  watch.touched(0);
  clock.advance(0);
  const second = await look(2);
  expect(await verdict(2)).toBeUndefined();
  second.answer(await healthy());
  expect(await verdict(3)).toMatchObject({ state: 'healthy' });
});

test('a touch that changed nothing is not judged', async () => {
  const clock = new ManualClock();
  const { watch, looks, look, verdict } = watched(clock);
  watch.touched(0);
  clock.advance(0);
  (await look(1)).answer(await healthy());
  await verdict(1);
  watch.recheck();
  clock.advance(0);
  await writeFile(join(dir, 'new'), '');
  await expect
    .poll(() => {
      watch.recheck();
      clock.advance(0);
      return looks.length;
    })
    .toBe(2);
});

test('a directory that is written to while it is read is looked at again', async () => {
  const clock = new ManualClock();
  const { watch, look, verdict } = watched(clock);
  watch.touched(0);
  clock.advance(0);
  (await look(1)).answer({ state: 'changing' });
  await expect.poll(() => clock.nextIn()).toBe(150);
  clock.advance(150);
  (await look(2)).answer(await healthy());
  expect(await verdict(1)).toMatchObject({ state: 'healthy' });
});
