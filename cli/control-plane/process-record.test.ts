import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { reapRecorded, recordProcesses } from './process-record.ts';

describe('reapRecorded', () => {
  let dir: string;
  let path: string;
  const started: ReturnType<typeof spawn>[] = [];
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'rec-'));
    path = join(dir, 'processes.json');
  });
  afterEach(async () => {
    for (const child of started.splice(0)) child.kill('SIGKILL');
    await rm(dir, { recursive: true });
  });

  const sleeper = () => {
    const child = spawn('sleep', ['600'], { stdio: 'ignore' });
    started.push(child);
    return { child, pid: child.pid ?? 0, closed: once(child, 'close') };
  };

  it('kills what is recorded and still lives, the last started first, and waits until it is gone', async () => {
    const [etcd, apiserver, over] = [sleeper(), sleeper(), sleeper()];
    await recordProcesses(path, [
      { name: 'over', pid: over.pid },
      { name: 'etcd', pid: etcd.pid },
      { name: 'kube-apiserver', pid: apiserver.pid },
    ]);
    over.child.kill('SIGKILL');
    await over.closed;
    expect(await reapRecorded(path)).toEqual(['kube-apiserver', 'etcd']);
    expect((await etcd.closed)[1]).toBe('SIGKILL');
    expect((await apiserver.closed)[1]).toBe('SIGKILL');
    expect(await reapRecorded(path)).toEqual([]);
  });

  it.each(['startTime', 'bootId'])(
    'leaves a process alone whose %s is not the recorded one',
    async (field) => {
      const { child, pid } = sleeper();
      await recordProcesses(path, [{ name: 'etcd', pid }]);
      const record = JSON.parse(await readFile(path, 'utf8'));
      record.processes[0][field] = 'another';
      await writeFile(path, JSON.stringify(record));
      expect(await reapRecorded(path)).toEqual([]);
      expect(child.exitCode ?? child.signalCode).toBeNull();
      expect(process.kill(pid, 0)).toBe(true);
    },
  );

  it.each(['', '{"version": 2}', 'garbage'])('takes a record of %j for none', async (text) => {
    await writeFile(path, text);
    expect(await reapRecorded(path)).toEqual([]);
  });
});
