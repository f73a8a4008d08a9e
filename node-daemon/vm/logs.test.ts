import { appendFile, mkdtemp, open, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { boundLogs, keepLogsBounded } from './logs.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'lg-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

test('a log beyond the limit starts over under the writer; others and missing ones stay', async () => {
  const logs = { log: join(dir, 'vm.log'), serialLog: join(dir, 'serial.log') };
  const writer = await open(logs.log, 'a');
  await writer.write('x'.repeat(101));
  await boundLogs(logs, 100);
  await writer.write('after');
  await writer.close();
  expect(await readFile(logs.log, 'utf8')).toBe('after');
  await appendFile(logs.serialLog, 'y'.repeat(100));
  await boundLogs(logs, 100);
  expect((await stat(logs.serialLog)).size).toBe(100);
});

test('logs are looked at until the signal is given', async () => {
  const logs = { log: join(dir, 'vm.log'), serialLog: join(dir, 'serial.log') };
  const end = new AbortController();
  const keeping = keepLogsBounded(logs, end.signal, { maxBytes: 10, checkMs: 1 });
  await appendFile(logs.serialLog, 'y'.repeat(11));
  await expect.poll(async () => (await stat(logs.serialLog)).size).toBe(0);
  end.abort();
  await expect(keeping).resolves.toBeUndefined();
});
