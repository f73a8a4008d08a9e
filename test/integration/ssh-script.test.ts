import { existsSync } from 'node:fs';
import { readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import ssh2 from 'ssh2';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { guestCommand } from '../../node-daemon/ssh/guest-command.ts';
import {
  killScript,
  observeScript,
  readOutputTail,
  type ScriptState,
  startScript,
  watchScript,
} from '../../node-daemon/ssh/script.ts';
import { START, SUPERVISE } from '../../node-daemon/ssh/script-programs.ts';
import { openSession, type SshSession } from '../../node-daemon/ssh/session.ts';
import { isRoot, type Sshd, startSshd, type Userland } from './ssh-daemon.ts';
import { unpackSshPackages } from './ssh-packages.ts';
import { OWN, otherUserlands } from './ssh-userlands.ts';

const TIMEOUT_MS = 30_000;
const POLL = { timeout: TIMEOUT_MS };
const unpacked = await unpackSshPackages();
const others = unpacked.root === undefined ? [] : otherUserlands(unpacked.root);

describe.skipIf(unpacked.root === undefined)(`${OWN.name} (${unpacked.root ?? unpacked.why})`, () =>
  suite(OWN),
);
for (const userland of others) {
  describe.skipIf(!isRoot)(`${userland.name} (needs root)`, () => suite(userland));
}

function suite(userland: Userland): void {
  let sshd: Sshd;
  let session: SshSession;
  const setup = (name = ''): string => join(sshd.home, '.shoes-vz/setup', name);
  const login = (): Promise<SshSession> => openSession(sshd.target, { timeoutMs: TIMEOUT_MS });
  const start = (script: string, over = session) => startScript(over, { script, timeoutMs: TIMEOUT_MS });
  const finish = async (script: string): Promise<ScriptState> => {
    await start(script);
    return await watchScript(session);
  };
  const inHome = (name: string): Promise<string> => readFile(join(sshd.home, name), 'utf8');
  const written = (name: string) =>
    expect.poll(() => existsSync(join(sshd.home, name)), { timeout: TIMEOUT_MS }).toBe(true);

  beforeAll(async () => {
    if (unpacked.root !== undefined) sshd = await startSshd(unpacked.root, userland);
  });
  afterAll(() => sshd?.stop());
  beforeEach(async () => {
    session = await login();
  });
  afterEach(async () => {
    await killScript(session, { graceSeconds: 0 }).catch(() => {});
    session.close();
    await rm(setup(), { recursive: true, force: true });
  });

  describe('a script', () => {
    test('leaves its exit code and its output', async () => {
      expect(await observeScript(session)).toEqual({ state: 'absent' });
      expect(await start('echo out; echo err >&2; exit 3')).toBe('started');
      expect(await watchScript(session)).toEqual({ state: 'exited', exitCode: 3 });
      expect(await observeScript(session)).toEqual({ state: 'exited', exitCode: 3 });
      expect(await readOutputTail(session)).toBe('out\nerr\n');
    });

    test('runs at home, with the mask of a login and without input', async () => {
      await finish('pwd; umask; cat; echo end');
      const mask = (await session.exec('umask', { timeoutMs: TIMEOUT_MS, maxOutputBytes: 100 })).stdout;
      expect(await readOutputTail(session)).toBe(`${sshd.home}\n${mask}end\n`);
    });

    test('is seen while it runs, by its pid', async () => {
      await start('echo $$ > pid; while [ ! -e go ]; do sleep 0.1; done');
      await written('pid');
      await expect.poll(() => inHome('pid'), POLL).toMatch(/\n/);
      expect(await observeScript(session)).toEqual({ state: 'running', pid: Number(await inHome('pid')) });
      await writeFile(join(sshd.home, 'go'), '');
      expect(await watchScript(session)).toEqual({ state: 'exited', exitCode: 0 });
      await rm(join(sshd.home, 'go'));
    });

    test.each([
      ['exit 126', 126],
      ['exit 127', 127],
      ['exit 255', 255],
      ['kill -TERM $$; sleep 9', 143],
      ['kill -KILL $$; sleep 9', 137],
      ['no-such-program-here', 127],
      ['if', 2],
    ])('%s', async (script, exitCode) => {
      expect(await finish(script)).toEqual({ state: 'exited', exitCode });
    });

    test('may be long, without a last line end, and hold any character', async () => {
      const filler = `: ${'ü'.repeat(100)}\n`.repeat(2_000);
      expect(await finish(`${filler}echo "ende 'gut' \\\\ \u{1f600}"`)).toEqual({
        state: 'exited',
        exitCode: 0,
      });
      expect(await readOutputTail(session)).toBe("ende 'gut' \\ \u{1f600}\n");
    });

    test.skipIf(!existsSync('/bin/bash'))('finds the numbers of its lines unchanged', async () => {
      await finish('#!/bin/bash\necho one $LINENO\necho two $LINENO');
      expect(await readOutputTail(session)).toBe('one 2\ntwo 3\n');
    });
  });

  describe('the first line', () => {
    test('chooses a shell and its option', async () => {
      expect(await finish('#! /bin/sh -e\nfalse\necho not reached')).toEqual({
        state: 'exited',
        exitCode: 1,
      });
      expect(await readOutputTail(session)).toBe('');
    });

    test('goes through env', async () => {
      expect(await finish('#!/usr/bin/env sh\necho $0; exit 4')).toEqual({ state: 'exited', exitCode: 4 });
    });

    test('chooses another language', async () => {
      const script = `#!${process.execPath}\nconsole.log('pid', process.pid > 0);\nprocess.exitCode = 5;\n`;
      expect(await finish(script)).toEqual({ state: 'exited', exitCode: 5 });
      expect(await readOutputTail(session)).toBe('pid true\n');
    });

    test.skipIf(!existsSync('/usr/bin/perl'))('chooses perl, with an argument', async () => {
      expect(await finish('#!/usr/bin/perl -w\nprint "perl $^W\\n"; exit 6;')).toEqual({
        state: 'exited',
        exitCode: 6,
      });
      expect(await readOutputTail(session)).toBe('perl 1\n');
    });

    test.each([
      ['#!/no/such/shell', 127, 'the interpreter of the setup script was not found: /no/such/shell'],
      ['#!/etc/passwd', 126, 'the interpreter of the setup script cannot be executed: /etc/passwd'],
      ['#!/bin/sh\r', 127, 'not found: /bin/sh\n (the line ends as in Windows)'],
    ])('%j cannot be run', async (line, exitCode, message) => {
      expect(await finish(`${line}\necho never`)).toEqual({ state: 'exited', exitCode });
      expect(await readOutputTail(session)).toContain(message);
    });
  });

  describe('is started once', () => {
    const script = 'echo ran >> runs; while [ ! -e go ]; do sleep 0.1; done';
    afterEach(() => rm(join(sshd.home, 'runs'), { force: true }));

    test('though it is started again, while it runs and after', async () => {
      await writeFile(join(sshd.home, 'go'), '');
      expect(await start(script)).toBe('started');
      expect(await start(script)).toBe('alreadyStarted');
      await watchScript(session);
      expect(await start(script)).toBe('alreadyStarted');
      await rm(join(sshd.home, 'go'));
      expect(await inHome('runs')).toBe('ran\n');
    });

    test('though many start it at the same time', async () => {
      const sessions = await Promise.all([login(), login(), login()]);
      const answers = await Promise.all([session, session, ...sessions].map((each) => start(script, each)));
      expect(answers.toSorted()).toEqual([...Array<string>(4).fill('alreadyStarted'), 'started']);
      await writeFile(join(sshd.home, 'go'), '');
      await watchScript(session);
      await rm(join(sshd.home, 'go'));
      expect(await inHome('runs')).toBe('ran\n');
      for (const each of sessions) each.close();
    });

    test('an upload that is cut off runs nothing, says so, and can be made again', async () => {
      await interruptedUpload(sshd, 'echo half >> runs; echo ran >> runs');
      await expect.poll(() => observeScript(session), POLL).toEqual({ state: 'incomplete' });
      await expect.poll(() => readdir(setup()), POLL).toEqual([]);
      await expect.poll(uploads, POLL).toEqual([]);
      expect(existsSync(join(sshd.home, 'runs'))).toBe(false);
      expect(await watchScript(session)).toEqual({ state: 'incomplete' });
      expect(await start('echo ran >> runs')).toBe('started');
      await watchScript(session);
      expect(await inHome('runs')).toBe('ran\n');
    });
  });

  describe('outlives', () => {
    test('a session that is dropped', async () => {
      await start('while [ ! -e go ]; do sleep 0.1; done; echo survived');
      const watching = watchScript(session);
      watching.catch(() => {});
      await sshd.dropConnections();
      await expect(watching).rejects.toMatchObject({ name: 'SshError', kind: 'closed' });
      await session.closed;
      session = await login();
      expect(await observeScript(session)).toMatchObject({ state: 'running' });
      await writeFile(join(sshd.home, 'go'), '');
      expect(await watchScript(session)).toEqual({ state: 'exited', exitCode: 0 });
      await rm(join(sshd.home, 'go'));
      expect(await readOutputTail(session)).toBe('survived\n');
    });

    test('children that live on hold neither its end nor their own output up', async () => {
      await start('(while [ ! -e go ]; do sleep 0.1; done; echo child) & echo parent');
      expect(await watchScript(session)).toEqual({ state: 'exited', exitCode: 0 });
      expect(await readOutputTail(session)).toBe('parent\n');
      await writeFile(join(sshd.home, 'go'), '');
      await expect.poll(() => readOutputTail(session), POLL).toBe('parent\nchild\n');
      await rm(join(sshd.home, 'go'));
    });
  });

  describe('its end', () => {
    test('is told at once to who watches, and an abort ends only the watching', async () => {
      await start('while [ ! -e go ]; do sleep 0.1; done');
      const controller = new AbortController();
      const reason = new Error('enough');
      const aborted = watchScript(session, { signal: controller.signal });
      aborted.catch(() => {});
      const watching = watchScript(session);
      controller.abort(reason);
      await expect(aborted).rejects.toBe(reason);
      await writeFile(join(sshd.home, 'go'), '');
      expect(await watching).toEqual({ state: 'exited', exitCode: 0 });
      await rm(join(sshd.home, 'go'));
    });

    test('leaves nothing of the watching behind', async () => {
      await start('while [ ! -e go ]; do sleep 0.1; done');
      const watching = watchScript(session);
      await expect.poll(() => sleepersIn(sshd.home), POLL).toContain('sleep 60');
      await writeFile(join(sshd.home, 'go'), '');
      await watching;
      await expect.poll(() => sleepersIn(sshd.home), POLL).toEqual([]);
      await rm(join(sshd.home, 'go'));
    });

    test('can be brought about, with that of its children', async () => {
      await start('sleep 1000 & echo $! > child; wait');
      await written('child');
      await expect.poll(() => inHome('child'), POLL).toMatch(/\n/);
      expect(await killScript(session)).toEqual({ state: 'exited', exitCode: 143 });
      const child = Number(await inHome('child'));
      await expect.poll(() => isRunning(child), POLL).toBe(false);
      await rm(join(sshd.home, 'child'));
    });

    test('comes by force where the script does not listen', async () => {
      await start('trap "" TERM; echo deaf > deaf; while :; do sleep 1; done');
      await written('deaf');
      expect(await killScript(session, { graceSeconds: 1 })).toEqual({ state: 'exited', exitCode: 137 });
      await rm(join(sshd.home, 'deaf'));
    });

    test('leaves nothing to be brought about', async () => {
      expect(await killScript(session)).toEqual({ state: 'absent' });
      await finish('exit 9');
      expect(await killScript(session)).toEqual({ state: 'exited', exitCode: 9 });
    });
  });

  describe('is known to have vanished', () => {
    const keeper = async (): Promise<number> =>
      Number((await readFile(setup('claim'), 'utf8')).split(' ')[0]);

    test('when it was killed together with its keeper', async () => {
      await start('echo > here; sleep 1000');
      await written('here');
      await rm(join(sshd.home, 'here'));
      const seen = await observeScript(session);
      if (seen.state !== 'running') throw new Error(seen.state);
      const watching = watchScript(session);
      process.kill(await keeper(), 'SIGKILL');
      process.kill(-seen.pid, 'SIGKILL');
      expect(await watching).toEqual({ state: 'vanished' });
      expect(await start('echo again')).toBe('alreadyStarted');
      expect(await killScript(session)).toEqual({ state: 'vanished' });
    });

    test('but not as long as it runs without its keeper', async () => {
      await start('while [ ! -e go ]; do sleep 0.1; done');
      process.kill(await keeper(), 'SIGKILL');
      expect(await observeScript(session)).toMatchObject({ state: 'running' });
      const watching = watchScript(session);
      await writeFile(join(sshd.home, 'go'), '');
      expect(await watching).toEqual({ state: 'vanished' });
      await rm(join(sshd.home, 'go'));
    });

    test('when the guest was booted since, though its pids are taken again', async () => {
      await start('sleep 1000');
      const claim = await readFile(setup('claim'), 'utf8');
      const [pid, started, boot] = claim.trim().split(' ');
      await writeFile(setup('claim'), `${pid} ${started} 0${boot?.slice(1)}x\n`);
      expect(await observeScript(session)).toEqual({ state: 'vanished' });
      await writeFile(setup('claim'), claim);
      expect(await observeScript(session)).toMatchObject({ state: 'running' });
    });
  });

  describe('output', () => {
    test('of 50 MB is kept in bounds, to its very end, and holds nobody up', async () => {
      const flood = 'yes 0123456789abcdef | head -c 50000000; echo; echo last words';
      expect(await finish(flood)).toEqual({ state: 'exited', exitCode: 0 });
      const names = (await readdir(setup())).filter((name) => name.startsWith('out.'));
      const sizes = await Promise.all(names.map(async (name) => (await stat(setup(name))).size));
      expect(sizes.length).toBeLessThanOrEqual(2);
      expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThan(5_000_000);
      const tail = await readOutputTail(session);
      expect(tail).toMatch(/^[0-9a-f\n]+\nlast words\n$/);
      expect(Buffer.byteLength(tail)).toBe(4096);
    });

    test('can be read while it floods', async () => {
      await start('yes 0123456789abcdef');
      for (let i = 0; i < 5; i += 1) {
        await expect
          .poll(() => readOutputTail(session, 1000))
          .toMatch(/^[0-9a-f]{0,16}\n(0123456789abcdef\n)+[0-9a-f]{0,16}$/);
      }
      expect(await killScript(session)).toEqual({ state: 'exited', exitCode: 143 });
    });

    test('in many small pieces keeps its order', async () => {
      expect(await finish('i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i + 1)); done')).toMatchObject({
        exitCode: 0,
      });
      const tail = await readOutputTail(session, 20_000);
      const numbers = [...tail.matchAll(/line (\d+)\n/g)].map(([, number]) => Number(number));
      expect(numbers.length).toBeGreaterThan(1_000);
      expect(numbers).toEqual(numbers.map((_, index) => 3_000 - numbers.length + index));
    });

    test('of a script that is not run is nothing', async () => {
      expect(await readOutputTail(session)).toBe('');
    });
  });

  describe('what it carries', () => {
    const SECRET = `registration-${process.pid}-token`;

    test('is in no argument, environment or file while it runs, and no child inherits it', async () => {
      await start(
        `ls -l /proc/self/fd > fds 2>&1\n: ${SECRET}\n: > here; while [ ! -e go ]; do sleep 0.1; done`,
      );
      await written('here');
      expect(await namedInProcesses(SECRET)).toEqual([]);
      expect(await filesHolding(sshd.home, SECRET)).toEqual([]);
      expect(await uploads()).toEqual([]);
      expect(await inHome('fds')).not.toMatch(/deleted|shoes-vz\./);
      await writeFile(join(sshd.home, 'go'), '');
      await watchScript(session);
      await rm(join(sshd.home, 'go'));
      await rm(join(sshd.home, 'here'));
      expect(await filesHolding(sshd.home, SECRET)).toEqual([]);
    });

    test('is closed to other users', async () => {
      await finish('true');
      expect((await stat(setup())).mode & 0o777).toBe(0o700);
    });
  });
}

/** Sends half of a script and cuts the connection. */
async function interruptedUpload({ target }: Sshd, script: string): Promise<void> {
  const client = new ssh2.Client();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  client.on('error', reject);
  client.on('close', () => resolve());
  client.on('ready', () => {
    const command = guestCommand(START, [SUPERVISE, String(script.length), 'shell']);
    client.exec(command, (error, channel) => {
      if (error) reject(error);
      channel.write(script.slice(0, script.length / 2), () => {
        // The claim is not there yet, the directory is: the guest waits for the rest.
        client.exec('until [ -d .shoes-vz/setup ]; do sleep 0.05; done', (failure, other) => {
          if (failure) reject(failure);
          other.on('close', () => client.destroy()).resume();
        });
      });
    });
  });
  client.connect({
    host: target.host,
    port: target.port,
    username: target.user,
    privateKey: target.privateKey,
  });
  await promise;
}

/** Pids of all processes, but this one, that show the text in arguments or environment. */
async function namedInProcesses(text: string): Promise<number[]> {
  const found: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    const read = (file: string): Promise<string> => readFile(`/proc/${name}/${file}`, 'utf8').catch(() => '');
    if (`${await read('cmdline')}${await read('environ')}`.includes(text)) found.push(Number(name));
  }
  return found;
}

/** Scripts that lie about on their way. */
async function uploads(): Promise<string[]> {
  const names = await readdir('/dev/shm');
  return names.filter((name) => name.startsWith('shoes-vz.'));
}

/** Whether a process is more than the remains that its parent has not asked about. */
async function isRunning(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => 'State:\tX');
  return !/^State:\t[ZX]/m.test(status);
}

/** Commands of the processes that sleep and belong to a home. */
async function sleepersIn(home: string): Promise<string[]> {
  const found: string[] = [];
  for (const name of await readdir('/proc')) {
    const read = (file: string): Promise<string> => readFile(`/proc/${name}/${file}`, 'utf8').catch(() => '');
    const command = (await read('cmdline')).split('\0').join(' ').trim();
    if (/(^|\/)sleep /.test(command) && (await read('environ')).split('\0').includes(`HOME=${home}`))
      found.push(command);
  }
  return found;
}

async function filesHolding(dir: string, text: string): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const holding = await Promise.all(files.map(async (file) => (await readFile(file, 'utf8')).includes(text)));
  return files.filter((_, index) => holding[index]);
}
