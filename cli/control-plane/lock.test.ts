import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { tryLock, waitForLock } from './lock.ts';

const HOLDER = `
  const { tryLock } = await import(${JSON.stringify(new URL('lock.ts', import.meta.url).href)});
  const lock = await tryLock(process.argv[1]);
  process.stdout.write('release' in lock ? 'held' : 'refused');
  setInterval(() => undefined, 1000);
`;

describe('tryLock', () => {
  let dir: string;
  let path: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'lock-'));
    path = join(dir, 'lock');
  });
  afterEach(() => rm(dir, { recursive: true }));

  const holdElsewhere = async () => {
    const child = spawn(process.execPath, ['--input-type=module', '-e', HOLDER, path]);
    const [said] = await once(child.stdout, 'data');
    expect(String(said)).toBe('held');
    return child;
  };

  it('excludes a second holder in the same process until it is released', async () => {
    const first = await tryLock(path);
    expect(first).toHaveProperty('release');
    expect(await tryLock(path)).toEqual({ heldBy: process.pid });
    if ('release' in first) first.release();
    const again = await tryLock(path);
    expect(again).toHaveProperty('release');
    if ('release' in again) again.release();
  });

  it('names a holder in another process, and is free as soon as that is killed', async () => {
    const child = await holdElsewhere();
    expect(await tryLock(path)).toEqual({ heldBy: child.pid });
    const waited: (number | undefined)[] = [];
    const waiting = waitForLock(path, { onWait: (pid) => waited.push(pid), timeoutMs: 30_000 });
    await expect.poll(() => waited).toEqual([child.pid]);
    child.kill('SIGKILL');
    const lock = await waiting;
    expect(lock).toBeDefined();
    lock?.release();
  });

  it('gives up waiting', async () => {
    const child = await holdElsewhere();
    expect(await waitForLock(path, { onWait: () => undefined, timeoutMs: 50 })).toBeUndefined();
    child.kill('SIGKILL');
    await once(child, 'close');
  });
});
