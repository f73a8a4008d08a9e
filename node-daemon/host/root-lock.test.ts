import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { lockRoot, RootLockedError } from './root-lock.ts';

let root: string;
const children: ChildProcess[] = [];
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'lock-'));
});
afterEach(async () => {
  await Promise.all(children.splice(0).map(killed));
  await rm(root, { recursive: true, force: true });
});

/** Waits for a line on stdin, so that all racers are loaded before any starts; then locks and tells. */
const STARTER = `
  import { once } from 'node:events';
  import { lockRoot } from ${JSON.stringify(new URL('./root-lock.ts', import.meta.url).href)};
  console.log('loaded');
  await once(process.stdin, 'data');
  try {
    await lockRoot(process.argv[1]);
    console.log('got');
    globalThis.gc();
  } catch (error) {
    console.log(error.name + ' ' + error.pid);
    process.exit(1);
  }
  setInterval(() => {}, 60_000);
`;

interface Starter {
  readonly child: ChildProcess;
  /** Lets it go, and returns what it came to. */
  go(): Promise<string>;
}

async function starter(): Promise<Starter> {
  const child = spawn(process.execPath, ['--expose-gc', '--input-type=module', '-e', STARTER, root], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  children.push(child);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const line = async (): Promise<string> => String((await lines.next()).value);
  expect(await line()).toBe('loaded');
  return {
    child,
    async go() {
      child.stdin.write('go\n');
      return await line();
    },
  };
}

async function killed(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, 'exit');
  child.kill('SIGKILL');
  await exit;
}

test('of many racing starters exactly one wins, and the others name it', { timeout: 60_000 }, async () => {
  const starters = await Promise.all(Array.from({ length: 6 }, starter));
  const outcomes = await Promise.all(starters.map((each) => each.go()));
  const winner = starters[outcomes.indexOf('got')];
  expect(outcomes.filter((outcome) => outcome === 'got')).toHaveLength(1);
  const refused = outcomes.filter((outcome) => outcome !== 'got');
  expect(new Set(refused)).toEqual(new Set([`RootLockedError ${winner?.child.pid}`]));
});

test('the lock of a daemon killed with -9 is free at once', { timeout: 60_000 }, async () => {
  const [first, second] = await Promise.all([starter(), starter()]);
  expect(await first.go()).toBe('got');
  await expect(lockRoot(root)).rejects.toThrow(`node daemon with pid ${first.child.pid} serves`);
  await killed(first.child);
  expect(await second.go()).toBe('got');
  const error = await lockRoot(root).catch((e: unknown) => e);
  expect(error).toBeInstanceOf(RootLockedError);
  expect(error).toMatchObject({ pid: second.child.pid });
});

test('one process cannot lock a root twice, and may again after release', async () => {
  const lock = await lockRoot(root);
  await expect(lockRoot(root)).rejects.toMatchObject({ pid: process.pid });
  expect(await readFile(join(root, 'daemon.pid'), 'utf8')).toBe(`${process.pid}\n`);
  await lock.release();
  await lock.release();
  expect(await readdir(root)).toEqual(['daemon.lock']);
  const again = await lockRoot(root);
  await again.release();
});

test('a child of the daemon does not inherit the lock', { timeout: 60_000 }, async () => {
  const lock = await lockRoot(root);
  const sleeper = spawn('sleep', ['60'], { stdio: 'ignore', detached: true });
  children.push(sleeper);
  await once(sleeper, 'spawn');
  await lock.release();
  const next = await starter();
  expect(await next.go()).toBe('got');
});

test('a root that is not there is one clear line', async () => {
  await expect(lockRoot(join(root, 'missing'))).rejects.toThrow(
    /missing\/daemon\.lock: cannot be locked: unable to open/,
  );
});
