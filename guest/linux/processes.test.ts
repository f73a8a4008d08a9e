import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { linuxProcessScan } from './processes.ts';

let proc: string;
beforeEach(async () => {
  proc = await mkdtemp(join(tmpdir(), 'proc-'));
});
afterEach(() => rm(proc, { recursive: true, force: true }));

async function addProcess(
  pid: number,
  argv: readonly string[],
  options: { ppid?: number; cwd?: string } = {},
) {
  const dir = join(proc, String(pid));
  await rm(dir, { recursive: true, force: true });
  await mkdir(dir);
  await writeFile(join(dir, 'cmdline'), argv.map((arg) => `${arg}\0`).join(''));
  await writeFile(join(dir, 'stat'), `${pid} (a) b) S ${options.ppid ?? 1} 0 0`);
  await symlink(options.cwd ?? '/', join(dir, 'cwd'));
}

test('finds the processes of a runner among all others', async () => {
  await writeFile(join(proc, 'uptime'), '');
  await addProcess(1, ['init']);
  await addProcess(10, [], { ppid: 2 });
  await addProcess(20, ['/r/bin/Runner.Listener', 'run']);
  await addProcess(21, ['./bin/Runner.Worker', 'spawnclient'], { cwd: '/r' });
  await mkdir(join(proc, '22'));
  expect(linuxProcessScan(proc)()).toEqual([
    { role: 'listen', root: '/r' },
    { role: 'work', root: '/r' },
  ]);
});

test('looks again at what had no arguments yet, and at a pid that was a kernel thread before', async () => {
  const scan = linuxProcessScan(proc);
  await addProcess(30, [], { ppid: 5 });
  await addProcess(31, [], { ppid: 2 });
  expect(scan()).toEqual([]);
  await addProcess(30, ['/r/bin/Runner.Listener', 'run']);
  await rm(join(proc, '31'), { recursive: true });
  expect(scan()).toEqual([{ role: 'listen', root: '/r' }]);
  await addProcess(31, ['/r/bin/Runner.Worker']);
  expect(scan()).toHaveLength(2);
});
