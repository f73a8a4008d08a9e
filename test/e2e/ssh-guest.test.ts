import { createReadStream, existsSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import { makeIdentity } from '../../node-daemon/seed/identity.ts';
import {
  killScript,
  observeScript,
  readOutputTail,
  startScript,
  watchScript,
} from '../../node-daemon/ssh/script.ts';
import { openSession, type SshSession, type SshTarget } from '../../node-daemon/ssh/session.ts';
import { waitForSsh } from '../../node-daemon/ssh/wait.ts';
import { createIdentifiedGuest, RUN, startIdentifiedGuest } from './ssh-guests.ts';
import { makeQemuMachine, type QemuMachine } from './vm-qemu-machine.ts';

const TEMPLATE = join(inject('templatesDir'), 'debian');
const BOOT = { timeoutMs: 180_000 };
const LOGIN = { timeoutMs: 60_000 };
const POLL = { timeout: 60_000 };
const SECRET = 'registration-5e7f3a-token';
const PLANTED = 'PLANTED_9c1d4b_TEXT';

let machine: QemuMachine;
let target: SshTarget;
/** The VM's own disk, as it lies on the host. */
let disk: string;
let session: SshSession;

beforeAll(async () => {
  machine = await makeQemuMachine(TEMPLATE);
  const guest = await createIdentifiedGuest(machine, 'ssh-guest', 8081);
  target = guest.target;
  disk = existsSync(guest.bundle.disk) ? guest.bundle.disk : guest.bundle.diskOverlay;
  const control = await startIdentifiedGuest(machine, guest);
  control.close();
  session = await waitForSsh(target, BOOT);
});

afterAll(async () => {
  session?.close();
  await machine?.dispose();
});

const start = (script: string, over = session) => startScript(over, { script, timeoutMs: 60_000 });
const inGuest = async (command: string): Promise<string> => (await session.exec(command, RUN)).stdout.trim();

describe('SSH', () => {
  test('reaches the VM that was meant, and no other', async () => {
    expect(session.hostKey).toBe(target.hostKey);
    expect(await inGuest('hostname')).toBe('ssh-guest');
    const other = makeIdentity();
    const wrongHost = openSession({ ...target, hostKey: other.hostKey.publicKey }, LOGIN);
    await expect(wrongHost).rejects.toMatchObject({ kind: 'hostKey' });
    const wrongKey = openSession({ ...target, privateKey: other.runnerKey.privateKey }, LOGIN);
    await expect(wrongKey).rejects.toMatchObject({ kind: 'auth' });
  });
});

describe('a setup script', () => {
  beforeEach(async () => {
    session = await openSession(target, LOGIN);
  });
  afterEach(async () => {
    await killScript(session, { graceSeconds: 0 });
    await inGuest('cd && rm -rf .shoes-vz planted go runs pid; pkill -x sleep');
    session.close();
  });

  test('that fails', async () => {
    expect(await observeScript(session)).toEqual({ state: 'absent' });
    expect(await start('echo about to fail; exit 42')).toBe('started');
    expect(await watchScript(session)).toEqual({ state: 'exited', exitCode: 42 });
    expect(await readOutputTail(session)).toBe('about to fail\n');
  });

  test('that never ends', async () => {
    await start('echo here; while :; do sleep 1; done');
    await expect.poll(() => readOutputTail(session), POLL).toBe('here\n');
    expect(await observeScript(session)).toMatchObject({ state: 'running' });
    expect(await killScript(session)).toEqual({ state: 'exited', exitCode: 143 });
  });

  test('that floods', async () => {
    await start('yes 0123456789abcdef | head -c 50000000; echo; echo last words');
    expect(await watchScript(session)).toEqual({ state: 'exited', exitCode: 0 });
    const tail = await readOutputTail(session);
    expect(tail).toMatch(/\nlast words\n$/);
    expect(tail).toHaveLength(4096);
    const kept = Number(await inGuest('cat "$HOME"/.shoes-vz/setup/out.* | wc -c'));
    expect(kept).toBeLessThan(5_000_000);
  });

  test('that is long', async () => {
    await start(`${': nothing\n'.repeat(50_000)}exit 5`);
    expect(await watchScript(session)).toEqual({ state: 'exited', exitCode: 5 });
  });

  test('whose children live on', async () => {
    await start('sleep 1000 & echo parent');
    expect(await watchScript(session)).toEqual({ state: 'exited', exitCode: 0 });
    expect(await readOutputTail(session)).toBe('parent\n');
    expect(await inGuest('pkill -x sleep && echo there was one')).toBe('there was one');
  });

  test('that is killed, alone and with its keeper', async () => {
    await start('kill -KILL $$');
    expect(await watchScript(session)).toEqual({ state: 'exited', exitCode: 137 });
    await inGuest('rm -rf "$HOME/.shoes-vz"');
    await start('echo $$ > pid; sleep 1000');
    await expect.poll(() => observeScript(session), POLL).toMatchObject({ state: 'running' });
    await inGuest(
      'read -r keeper rest < .shoes-vz/setup/claim; read -r pid rest < .shoes-vz/setup/pid; kill -KILL $keeper -$pid',
    );
    await expect.poll(() => observeScript(session), POLL).toEqual({ state: 'vanished' });
  });

  test('that is the job, and outlives its SSH session', async () => {
    await start('while [ ! -e go ]; do sleep 0.2; done; echo done');
    const watching = watchScript(session);
    watching.catch(() => {});
    session.close();
    await expect(watching).rejects.toMatchObject({ kind: 'closed' });
    session = await openSession(target, LOGIN);
    expect(await observeScript(session)).toMatchObject({ state: 'running' });
    await inGuest(': > go');
    expect(await watchScript(session)).toEqual({ state: 'exited', exitCode: 0 });
    expect(await readOutputTail(session)).toBe('done\n');
  });

  test('that is started twice at once runs once', async () => {
    const other = await openSession(target, LOGIN);
    const answers = await Promise.all([session, other].map((each) => start('echo ran >> runs', each)));
    expect(answers.toSorted()).toEqual(['alreadyStarted', 'started']);
    await watchScript(session);
    expect(await inGuest('cat runs')).toBe('ran');
    other.close();
  });

  test.each([
    ['#!/bin/sh -e', 'false; echo not reached', 1],
    ['#!/usr/bin/env bash', '[[ -n $BASH_VERSION ]] && exit 7', 7],
    ['#!/usr/bin/perl', 'exit 8', 8],
    ['#!/no/such/interpreter', 'exit 9', 127],
  ])('for %s', async (line, body, exitCode) => {
    await start(`${line}\n${body}\n`);
    expect(await watchScript(session)).toEqual({ state: 'exited', exitCode });
  });

  test('leaves its secrets in no process and on no disk, not even for root', async () => {
    // What is planted shows that the searches find what is there.
    await inGuest(`${PLANTED}=1 sleep 1000 </dev/null >/dev/null 2>&1 & echo ${PLANTED} > planted`);
    await start(`: ${SECRET}\nwhile [ ! -e never ]; do sleep 0.2; done`);
    await expect.poll(() => observeScript(session), POLL).toMatchObject({ state: 'running' });
    const processes = (text: string): Promise<string> =>
      inGuest(`sudo grep -la "${unlike(text)}" /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null`);
    expect(await processes(PLANTED)).toMatch(/environ/);
    expect(await processes(SECRET)).toBe('');
    const files = (text: string): Promise<string> =>
      inGuest(`sudo grep -rla "${unlike(text)}" /home /root /run /dev/shm /tmp /var 2>/dev/null`);
    expect(await files(PLANTED)).toBe('/home/runner/planted');
    expect(await files(SECRET)).toBe('');
    await inGuest('sync');
    expect(await holds(disk, [PLANTED, SECRET])).toEqual([true, false]);
  });
});

/** A pattern that matches the text and not itself, so that a search does not find its own arguments. */
const unlike = (text: string): string => `[${text[0]}]${text.slice(1)}`;

/** Which of the texts are somewhere in a file. */
async function holds(path: string, texts: readonly string[]): Promise<boolean[]> {
  const found = texts.map(() => false);
  let end = Buffer.alloc(0);
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 22 })) {
    const bytes = Buffer.concat([end, chunk]);
    for (const [index, text] of texts.entries()) found[index] ||= bytes.includes(text);
    end = bytes.subarray(-100);
  }
  return found;
}
