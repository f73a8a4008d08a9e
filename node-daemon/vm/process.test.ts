import { mkdir, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BundleStore } from './bundle.ts';
import type { BundlePaths, VmCommand } from './driver.ts';
import { systemProcesses, type VmProcesses } from './process.ts';
import { isGone, parseProcStat, psTable, systemProcessTable } from './process-table.ts';

const UID = '7e2a2f0c-5d53-4f4e-9a52-0a3c3f6d1f10';

let root: string;
let store: BundleStore;
let bundle: BundlePaths;

beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'sv,-'));
  await mkdir(join(root, 'runners'));
  store = new BundleStore(root);
  bundle = await store.create({
    identity: { uid: UID, attempt: 1, hostUid: 'h' },
    runner: { namespace: 'default', name: 'r' },
    template: { name: 't', digest: '' },
    createdAt: 1,
  });
});
afterEach(async () => {
  await systemProcesses().killAndWait(bundle, 5_000);
  await rm(root, { recursive: true, force: true });
});

/** A process that names the control socket and lives until it is killed. */
function sleeper(script = 'exec sleep 600 # '): VmCommand {
  return { file: 'sh', argv: ['-c', `${script}; :`, 'vm', bundle.controlSocket], env: { MARK: 'yes' } };
}

const LONG = 'while :; do sleep 600; done';

const tables: [string, () => VmProcesses][] = [
  ['/proc', () => systemProcesses()],
  ['ps', () => systemProcesses(psTable(() => systemProcessTable().bootId()))],
];

describe.each(tables)('VM processes by %s', (_, make) => {
  test('a recorded process is found and killed', async () => {
    const processes = make();
    const spawned = await processes.spawn(bundle, sleeper(LONG));
    await store.update(bundle, { process: spawned.identity });
    expect(await processes.find(bundle)).toEqual({ state: 'present', processes: [spawned.identity] });
    await processes.killAndWait(bundle, 5_000);
    expect(await processes.find(bundle)).toEqual({ state: 'absent' });
    expect(await spawned.exited).toEqual({ code: null, signal: 'SIGKILL' });
  });

  test('a process that nobody recorded is found by the control socket in its arguments', async () => {
    const processes = make();
    const spawned = await processes.spawn(bundle, sleeper(LONG));
    expect(await processes.find(bundle)).toEqual({ state: 'present', processes: [spawned.identity] });
  });

  test('a comma in the path may be doubled in the arguments', async () => {
    const processes = make();
    const command = sleeper(LONG);
    const doubled = command.argv.map((argument) => argument.replaceAll(',', ',,'));
    const spawned = await processes.spawn(bundle, { ...command, argv: doubled });
    expect(await processes.find(bundle)).toEqual({ state: 'present', processes: [spawned.identity] });
  });

  test('a pid with another start time, or of another boot, is somebody else', async () => {
    const processes = make();
    const spawned = await processes.spawn(bundle, { ...sleeper(LONG), argv: ['-c', LONG] });
    const identity = spawned.identity;
    if (identity === undefined) throw new Error('it ended');
    await store.update(bundle, { process: { ...identity, startTime: '1' } });
    expect(await processes.find(bundle)).toEqual({ state: 'absent' });
    await store.update(bundle, { process: { ...identity, bootId: 'before' } });
    expect(await processes.find(bundle)).toEqual({ state: 'absent' });
    await store.update(bundle, { process: identity });
    expect(await processes.find(bundle)).toEqual({ state: 'present', processes: [identity] });
  });

  test('waitGone settles when the process ends, and can be aborted', async () => {
    const processes = make();
    const { identity } = await processes.spawn(bundle, sleeper(LONG));
    if (identity === undefined) throw new Error('it ended');
    const aborted = processes.waitGone(identity, AbortSignal.abort(new Error('enough')));
    await expect(aborted).rejects.toThrow('abort');
    const gone = processes.waitGone(identity, new AbortController().signal);
    process.kill(identity.pid, 'SIGKILL');
    await expect(gone).resolves.toBeUndefined();
  });
});

describe('spawning', () => {
  test('own session, private files, no environment of the daemon but PATH', async () => {
    process.env.SHOES_VZ_TEST_SECRET = 'leaks';
    const script = 'env; echo err >&2; : > made; cat /proc/self/limits; cut -d" " -f6 /proc/$$/stat; echo $$';
    const { exited } = await systemProcesses().spawn(bundle, sleeper(script));
    await exited;
    const log = await readFile(bundle.log, 'utf8');
    expect(log).toContain('MARK=yes');
    expect(log).toContain('err');
    expect(log).not.toContain('leaks');
    expect(log).toMatch(/Max core file size +0 /);
    const [session, pid] = log.trimEnd().split('\n').slice(-2);
    expect(session).toBe(pid);
    expect((await stat(join(bundle.dir, 'made'))).mode & 0o777).toBe(0o600);
    expect((await stat(bundle.log)).mode & 0o777).toBe(0o600);
  });

  test('helpers of the process are killed with it', async () => {
    const processes = systemProcesses();
    await processes.spawn(bundle, sleeper('sleep 600 & echo $! > helper; wait'));
    const table = systemProcessTable();
    const helper = async (): Promise<number> =>
      Number(await readFile(join(bundle.dir, 'helper'), 'utf8').catch(() => ''));
    await expect.poll(helper).toBeGreaterThan(0);
    const pid = await helper();
    await processes.killAndWait(bundle, 5_000);
    await expect.poll(() => table.startTime(pid)).toBeUndefined();
  });

  test('a program that does not exist says so in the log', async () => {
    const command = { file: 'no-such-program', argv: [bundle.controlSocket], env: {} };
    const { exited } = await systemProcesses().spawn(bundle, command);
    expect(await exited).toEqual({ code: 127, signal: null });
    expect(await readFile(bundle.log, 'utf8')).toContain('no-such-program');
  });
});

test('a process table that cannot be read makes unknown, and nothing is called gone', async () => {
  const table = { ...systemProcessTable(), findLeaders: () => Promise.reject(new Error('EACCES')) };
  const processes = systemProcesses(table);
  expect(await processes.find(bundle)).toEqual({ state: 'unknown', why: 'EACCES' });
  await expect(processes.killAndWait(bundle, 50)).rejects.toThrow('cannot tell');
});

test.each([
  [
    '1 (a) S 0 7 7 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 42 0',
    { state: 'S', session: 7, threads: 1, startTime: '42' },
  ],
  [
    '1 (a) b (c)) Z 0 7 9 0 -1 4 0 0 0 0 0 0 0 0 20 0 1 0 42',
    { state: 'Z', session: 9, threads: 1, startTime: '42' },
  ],
  ['1 (a) S', undefined],
])('%j is read as %j', (text, expected) => {
  expect(parseProcStat(text)).toEqual(expected);
});

test.each([
  ['S', 1, false],
  ['Z', 1, true],
  ['Z', 0, true],
  // Its first thread has ended; others still hold its files and ports.
  ['Z', 3, false],
  ['X', 1, true],
])('a process in state %s with %i threads is gone: %s', (state, threads, gone) => {
  expect(isGone({ state, threads })).toBe(gone);
});
