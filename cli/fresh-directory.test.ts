import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { tryFileLock } from '../node-daemon/file-lock.ts';
import { asDataDir, asHostRoot, discardingOnFailure } from './fresh-directory.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'svz-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

/** A start that fills the directories and then fails. */
const fillAndFail =
  (...paths: string[]) =>
  async (): Promise<never> => {
    for (const path of paths) {
      await mkdir(join(path, 'runners'), { recursive: true });
      await writeFile(join(path, 'machine.json'), '{}');
    }
    throw new Error('it cannot be');
  };

describe('discardingOnFailure', () => {
  it('keeps what a start that succeeded has made', async () => {
    const root = join(dir, 'a', 'root');
    const start = async () => void (await mkdir(root, { recursive: true }));
    await discardingOnFailure([asHostRoot(root)], start);
    expect(existsSync(root)).toBe(true);
  });

  it('removes what was not there before, with the directories above it', async () => {
    const root = join(dir, 'a', 'b', 'root');
    await expect(discardingOnFailure([asHostRoot(root)], fillAndFail(root))).rejects.toThrow('it cannot be');
    expect(await readdir(dir)).toEqual([]);
  });

  it('removes a host root inside of a data directory with it', async () => {
    const data = join(dir, 'data');
    const root = join(data, 'host');
    const places = [asDataDir(data, root), asHostRoot(root)];
    await expect(discardingOnFailure(places, fillAndFail(root, data))).rejects.toThrow();
    expect(await readdir(dir)).toEqual([]);
  });

  it('leaves alone what was there, empty or not', async () => {
    await expect(discardingOnFailure([asHostRoot(dir)], fillAndFail(dir))).rejects.toThrow();
    expect(await readdir(dir)).toEqual(['machine.json', 'runners']);
  });

  it('leaves directories above it alone that others use by now', async () => {
    const root = join(dir, 'shared', 'root');
    const start = async (): Promise<never> => {
      await mkdir(join(dir, 'shared', 'other'), { recursive: true });
      return await fillAndFail(root)();
    };
    await expect(discardingOnFailure([asHostRoot(root)], start)).rejects.toThrow();
    expect(await readdir(join(dir, 'shared'))).toEqual(['other']);
  });

  it('leaves alone what another process has taken meanwhile', async () => {
    const root = join(dir, 'root');
    const place = asHostRoot(root);
    let lock: ReturnType<typeof tryFileLock>;
    const start = async (): Promise<never> => {
      await mkdir(root);
      lock = tryFileLock(place.lockFile);
      return await fillAndFail(root)();
    };
    await expect(discardingOnFailure([place], start)).rejects.toThrow();
    expect(await readdir(root)).toContain('machine.json');
    lock?.release();
  });

  it('leaves VMs alone', async () => {
    const data = join(dir, 'data');
    const root = join(data, 'host');
    const bundle = join(root, 'runners', '7c9e6679-7425-40de-944b-e07fc1f90ae7.1.bundle');
    const start = async (): Promise<never> => {
      await mkdir(bundle, { recursive: true });
      throw new Error('it cannot be');
    };
    await expect(discardingOnFailure([asDataDir(data, root), asHostRoot(root)], start)).rejects.toThrow();
    expect(existsSync(bundle)).toBe(true);
  });
});
