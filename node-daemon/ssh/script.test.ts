import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { generateSshKeyPair } from './key-pair.ts';
import {
  killScript,
  observeScript,
  readOutputTail,
  ScriptError,
  startScript,
  watchScript,
} from './script.ts';
import { openSession, type SshSession } from './session.ts';
import { exit, FakeSshServer } from './testing/fake-ssh-server.ts';

// What the guest's half does is tested against real shells and servers in test/integration/ssh-script.test.ts.

const KEY = generateSshKeyPair();
const SCRIPT = { script: '#!/bin/sh\nregister --token sEcReT', timeoutMs: 5_000 };

let server: FakeSshServer;
let session: SshSession;

beforeEach(async () => {
  server = new FakeSshServer();
  server.authorized.add(KEY.publicKey);
  await server.listen();
  const { port, hostKey } = server;
  const target = {
    host: '127.0.0.1',
    port,
    user: 'runner',
    privateKey: KEY.privateKey,
    hostKey: hostKey.publicKey,
  };
  session = await openSession(target, { timeoutMs: 5_000 });
});

afterEach(async () => {
  session.close();
  await server.close();
});

/** Commands are answered in turn, the last answer again and again. */
function answer(
  ...answers: { readonly stdout?: string; readonly stderr?: string; readonly code?: number }[]
): string[] {
  const commands: string[] = [];
  server.onCommand = ({ command, channel }) => {
    const {
      stdout = '',
      stderr = '',
      code = 0,
    } = answers[Math.min(commands.length, answers.length - 1)] ?? {};
    commands.push(command);
    channel.resume();
    channel.on('end', () => exit(channel, code, stdout, stderr));
  };
  return commands;
}

describe('startScript', () => {
  test.each(['started', 'alreadyStarted'] as const)('%s', async (word) => {
    answer({ stdout: `${word}\n` });
    expect(await startScript(session, SCRIPT)).toBe(word);
  });

  test('sends the script on the input, and nothing of it in the command', async () => {
    let input = '';
    let line = '';
    server.onCommand = ({ command, channel }) => {
      line = command;
      channel.on('data', (chunk: Buffer) => {
        input += chunk.toString();
      });
      channel.on('end', () => exit(channel, 0, 'started\n'));
    };
    await startScript(session, SCRIPT);
    expect(input).toBe(`exec 9<&-;${SCRIPT.script}`);
    expect(line).not.toContain('sEcReT');
    expect(line).toContain(` '${input.length}' 'shell' '/bin/sh'`);
  });

  test('an interpreter that is no shell gets the script as it is', async () => {
    let input = '';
    server.onCommand = ({ channel }) => {
      channel.on('data', (chunk: Buffer) => {
        input += chunk.toString();
      });
      channel.on('end', () => exit(channel, 0, 'started\n'));
    };
    const script = '#!/usr/bin/python3\nprint(1)';
    await startScript(session, { ...SCRIPT, script });
    expect(input).toBe(script);
  });

  test.each([
    [
      { stdout: 'incomplete\n', stderr: 'cat: No space left on device\n' },
      'incomplete',
      /whole: cat: No space left on device$/,
    ],
    [{ stdout: 'failed\n' }, 'guest', /could not start the setup script \(exit code 0\)$/],
    [{ code: 73, stderr: 'mkdir: Permission denied\n' }, 'guest', /: mkdir: Permission denied$/],
  ] as const)('what the guest cannot do is said in a line: %j', async (said, kind, message) => {
    answer(said);
    const failure = startScript(session, SCRIPT);
    await expect(failure).rejects.toBeInstanceOf(ScriptError);
    await expect(failure).rejects.toMatchObject({ kind });
    await expect(failure).rejects.toThrow(message);
  });

  test('a connection that is lost on the way is an error of SSH', async () => {
    server.onCommand = () => server.dropAll();
    await expect(startScript(session, SCRIPT)).rejects.toMatchObject({ name: 'SshError', kind: 'closed' });
  });

  test('a guest that does not answer runs into the limit', async () => {
    server.onCommand = () => {};
    const failure = startScript(session, { ...SCRIPT, timeoutMs: 50 });
    await expect(failure).rejects.toMatchObject({ name: 'SshError', kind: 'timeout' });
  });
});

describe('observeScript', () => {
  test.each([
    ['absent\n', { state: 'absent' }],
    ['incomplete\n', { state: 'incomplete' }],
    ['running 4711\n', { state: 'running', pid: 4711 }],
    ['exited 0\n', { state: 'exited', exitCode: 0 }],
    ['exited 137\n', { state: 'exited', exitCode: 137 }],
    ['vanished\n', { state: 'vanished' }],
    ['Welcome!\nexited 1\n', { state: 'exited', exitCode: 1 }],
  ])('%j', async (stdout, state) => {
    answer({ stdout });
    expect(await observeScript(session)).toEqual(state);
  });

  test.each(['', 'exited\n', 'running x\n', 'exited 1', 'exited 1\nmore\n', 'exited 1\n\n'])(
    '%j is no answer',
    async (stdout) => {
      answer({ stdout, code: 1 });
      await expect(observeScript(session)).rejects.toMatchObject({ name: 'ScriptError', kind: 'guest' });
    },
  );
});

describe('watchScript', () => {
  test('asks again as long as the script runs', async () => {
    const commands = answer({ stdout: 'running 7\n' }, { stdout: 'running 7\n' }, { stdout: 'exited 2\n' });
    expect(await watchScript(session)).toEqual({ state: 'exited', exitCode: 2 });
    expect(commands).toHaveLength(3);
  });
});

describe('killScript', () => {
  test('tells what came of it', async () => {
    const commands = answer({ stdout: 'exited 143\n' });
    expect(await killScript(session, { graceSeconds: 7 })).toEqual({ state: 'exited', exitCode: 143 });
    expect(commands[0]).toMatch(/'7'$/);
  });
});

describe('readOutputTail', () => {
  /** Like the program in the guest, after a profile that prints something. */
  const tailOf = (output: string): void => {
    server.onCommand = ({ command, channel }) => {
      const [, mark] = /'([^']+)'$/.exec(command) ?? [];
      exit(channel, 0, `Welcome!\n${mark}\n${output}`);
    };
  };

  test('is cut at a character, whatever bytes arrive', async () => {
    tailOf('ab\u{1f600}c\u001b[0m\n');
    expect(await readOutputTail(session, 6)).toBe('\u{1f600}c\n');
    expect(await readOutputTail(session, 5)).toBe('c\n');
  });

  test('is nothing where nothing was written, whatever a profile prints', async () => {
    tailOf('');
    expect(await readOutputTail(session)).toBe('');
  });

  test('is not guessed where the guest does not answer', async () => {
    answer({ stdout: 'Welcome!\n', code: 1 });
    await expect(readOutputTail(session)).rejects.toMatchObject({ name: 'ScriptError', kind: 'guest' });
  });
});
