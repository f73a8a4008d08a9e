import { expect, test } from 'vitest';
import type { Logger } from '../../kube/log.ts';
import { ManualClock } from '../../kube/testing/manual-clock.ts';
import type { VolumeRoom } from './machine.ts';
import { RoomWatch } from './room-watch.ts';

const GIB = 2 ** 30;

function watchOf(clock: ManualClock, free: () => number | Error) {
  const lines: string[] = [];
  const line = (_: object, message: string) => void lines.push(message);
  const log: Logger = { debug: line, info: line, warn: line, error: line };
  let changes = 0;
  const read = async (): Promise<VolumeRoom> => {
    const freeBytes = free();
    if (freeBytes instanceof Error) throw freeBytes;
    return { totalBytes: 500 * GIB, freeBytes };
  };
  const watch = new RoomWatch({ root: '/r', clock, log, read, changed: () => (changes += 1) });
  return { watch, lines, changes: () => changes };
}

test('tells only that a volume ran low, and that it has room again', async () => {
  const clock = new ManualClock();
  let free: number | Error = 100 * GIB;
  const { watch, lines, changes } = watchOf(clock, () => free);
  expect(watch.room().enough).toBe(true);
  await watch.start();
  for (const room of [90, 50, 3]) {
    free = room * GIB;
    await clock.advance(15_000);
  }
  expect(changes()).toBe(0);
  free = GIB;
  await clock.advance(15_000);
  expect(watch.room().enough).toBe(false);
  expect(changes()).toBe(1);
  free = new Error('EIO');
  await clock.advance(15_000);
  expect(watch.room().enough).toBe(false);
  free = 3 * GIB;
  await clock.advance(15_000);
  expect(changes()).toBe(1);
  free = 5 * GIB;
  await clock.advance(15_000);
  expect(watch.room().enough).toBe(true);
  expect(changes()).toBe(2);
  expect(lines).toEqual([
    '/r: no VM is started: there is too little room on its volume',
    '/r: the room on its volume cannot be read',
    '/r: there is room for VMs again',
  ]);
  watch.stop();
  expect(clock.timers).toBe(0);
});

test('a volume that is low from the start is told of', async () => {
  const clock = new ManualClock();
  const { watch, changes } = watchOf(clock, () => GIB);
  await watch.start();
  expect(watch.room().enough).toBe(false);
  expect(watch.volume()?.freeBytes).toBe(GIB);
  expect(changes()).toBe(1);
  watch.stop();
});
