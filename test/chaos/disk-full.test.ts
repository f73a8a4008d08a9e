import { execFile } from 'node:child_process';
import { type FileHandle, mkdir, open, rm, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Runner } from '../../crds/runner.ts';
import { mountReflinkVolume } from '../harness/reflink-volume.ts';
import type { ChaosHost } from './host.ts';
import { ChaosWorld, conditionOf } from './world.ts';

const run = promisify(execFile);

let world: ChaosWorld;
let volume: Awaited<ReturnType<typeof mountReflinkVolume>>;
beforeAll(async () => {
  volume = await mountReflinkVolume('2G');
  world = await ChaosWorld.open();
});
afterAll(async () => {
  await world.close();
  if (volume.dir !== undefined) await volume.unmount();
});

/** Takes all room of a volume, to the last block. Returns what gives it back. */
async function fill(dir: string): Promise<() => Promise<void>> {
  const ballast = join(dir, 'ballast');
  await mkdir(ballast);
  // Opened while there is room for an inode.
  const rest = await open(join(ballast, 'rest'), 'w');
  for (let bytes = 2 ** 30; bytes >= 4096; bytes /= 2) {
    for (let tries = 2; tries > 0; tries -= 1) {
      await run('fallocate', ['-l', String(bytes), join(ballast, `${bytes}-${tries}`)]).catch(
        () => undefined,
      );
    }
  }
  await drain(rest);
  return () => rm(ballast, { recursive: true });
}

/** What is left goes by the block, until nothing does. */
async function drain(file: FileHandle): Promise<void> {
  try {
    for (;;) {
      await file.write(Buffer.alloc(4096, 1));
      await file.sync();
    }
  } catch {
    // There is no room any more.
  } finally {
    await file.close();
  }
}

const wasTold = (runner: Runner | undefined): string =>
  [
    conditionOf(runner, 'Bound')?.message,
    conditionOf(runner, 'Stalled')?.message,
    ...(runner?.status?.attempts ?? []).map(({ message }) => message),
  ].join(' ');

test('a disk that is full, while VMs are made and while they run, is told; nothing leaks, and room comes back', async (context) => {
  if (volume.dir === undefined) return context.skip(`no XFS to test on: ${volume.why}`);
  const host: ChaosHost = await world.host({ root: join(volume.dir, 'h') });
  await world.create('early', { setupScript: { inline: world.waiting('early') } });
  await world.whenPhase('early', 'Running');
  const held = await host.daemon.holdAt({ call: 'driver.prepare', nth: 0, when: 'before' });
  await world.create('late');
  await held.reached;
  const empty = await fill(volume.dir);
  const { bavail, bsize } = await statfs(volume.dir);
  expect(bavail * bsize).toBeLessThan(2 ** 20);
  held.release();
  const late = await world.when('late', 'told of the disk', (seen) => /room|free|ENOSPC/.test(wasTold(seen)));
  expect(late?.status?.phase).toMatch(/Pending|Error/);
  await world.letGo('early');
  await world.whenPhase('early', 'Finished');
  expect(await world.runs('early')).toBe(1);
  await world.burn('early', 'late');
  await world.untilNothingIsLeft();
  await empty();
  await world.create('after');
  await world.whenPhase('after', 'Finished');
  await world.burn('after');
  await world.untilNothingIsLeft();
});
