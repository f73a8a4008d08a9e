import { existsSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { durableFile } from '../durable-file.ts';
import { RebootNote } from './reboot-note.ts';

let root: string;
let bootId: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'r-'));
  bootId = 'boot-1';
});
afterEach(() => rm(root, { recursive: true, force: true }));

const log = { debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
const changed = vi.fn();
const path = (dir = root) => join(dir, 'needs-reboot.json');
const open = (dir = root) =>
  RebootNote.open({ file: durableFile(path(dir), 0o644), bootId: async () => bootId, log, changed });

describe('that a machine must be rebooted', () => {
  test('is not so on a new one', async () => {
    expect((await open()).why).toBeUndefined();
    expect(existsSync(path())).toBe(false);
  });

  test('is told once, and known to the daemons that follow', async () => {
    changed.mockClear();
    const note = await open();
    await note.needed('two slots leaked');
    await note.needed('three slots leaked');
    expect(note.why).toBe('two slots leaked');
    expect(changed).toHaveBeenCalledTimes(1);
    expect((await open()).why).toBe('two slots leaked');
  });

  test('ends with the boot', async () => {
    await (await open()).needed('two slots leaked');
    bootId = 'boot-2';
    expect((await open()).why).toBeUndefined();
    expect(existsSync(path())).toBe(false);
    bootId = 'boot-1';
    expect((await open()).why).toBeUndefined();
  });

  test.each(['', '{}', '{"version":2,"bootId":"boot-1","why":"x"}', 'nonsense'])(
    'is not believed of a file that says %j',
    async (text) => {
      await writeFile(path(), text);
      expect((await open()).why).toBeUndefined();
      expect(existsSync(path())).toBe(false);
    },
  );

  test('is known to the daemon that found out, though the disk does not take it', async () => {
    const note = await open(join(root, 'missing'));
    await note.needed('two slots leaked');
    expect(note.why).toBe('two slots leaked');
  });
});
