import { appendFile, mkdtemp, rm, truncate } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { followConsole, saysSshdListens } from './console.ts';

let dir: string;
let log: string;
let lines: string[];
let stop: () => void;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'svz-console-'));
  log = join(dir, 'serial.log');
  lines = [];
});

afterEach(async () => {
  stop();
  await rm(dir, { recursive: true, force: true });
});

const follow = (): void => {
  stop = followConsole(log, (line) => lines.push(line));
};
const seen = (expected: readonly string[]) =>
  vi.waitFor(() => expect(lines).toEqual(expected), { timeout: 20_000, interval: 5 });

describe('followConsole', () => {
  test('tells each line once, whether written before or after, in pieces or at once', async () => {
    await appendFile(log, 'one\r\ntw');
    follow();
    await seen(['one']);
    await appendFile(log, 'o\r\nthree\r\n');
    await seen(['one', 'two', 'three']);
  });

  test('waits for a log that is not there yet', async () => {
    follow();
    await appendFile(log, 'one\n');
    await seen(['one']);
  });

  test('begins again in a log that was emptied', async () => {
    await appendFile(log, 'a long first line\n');
    follow();
    await seen(['a long first line']);
    await truncate(log, 0);
    await appendFile(log, 'two\n');
    await seen(['a long first line', 'two']);
  });

  test('keeps little of a line that does not end', async () => {
    await appendFile(log, `${'x'.repeat(200_000)}\n`);
    follow();
    await vi.waitFor(() => expect(lines).toHaveLength(1), { timeout: 20_000 });
    expect(lines[0]?.length).toBeLessThan(100_000);
  });

  test('tells nothing once it has been ended', async () => {
    follow();
    await appendFile(log, 'one\n');
    await seen(['one']);
    stop();
    await appendFile(log, 'two\n');
    const again: string[] = [];
    stop = followConsole(log, (line) => again.push(line));
    await vi.waitFor(() => expect(again).toEqual(['one', 'two']), { timeout: 20_000 });
    expect(lines).toEqual(['one']);
  });
});

test.each([
  ['[83] Nov 30 05:41:20 Not backgrounding', true],
  ['[  OK  ] Started ssh.service - OpenBSD Secure Shell server.', true],
  ['shoesvz: sshd listening', true],
  ['shoesvz: the seed cannot be installed: sshd is not started', false],
])('%s', (line, isSo) => {
  stop = () => undefined;
  expect(saysSshdListens(line)).toBe(isSo);
});
