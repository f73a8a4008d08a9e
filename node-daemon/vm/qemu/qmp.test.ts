import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { bundlePaths } from '../bundle.ts';
import type { VmProcesses } from '../process.ts';
import { connectQemu, runState } from './control.ts';
import { QmpClient, type QmpEvent } from './qmp.ts';

const GREETING = '{"QMP": {"version": {}, "capabilities": []}}\r\n';

interface Command {
  readonly execute: string;
  readonly id: number;
}

type Script = (command: Command, socket: Socket) => void;

let dir: string;
let path: string;
let server: Server;
const sockets: Socket[] = [];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), 'qm-'));
  path = join(dir, 's');
});
afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await new Promise((resolve) => server.close(resolve));
  await rm(dir, { recursive: true, force: true });
});

/** A peer that greets, and answers each command as the script says. */
async function serve(script: Script, greeting = GREETING, at = path): Promise<void> {
  server = createServer((socket) => {
    sockets.push(socket);
    socket.on('error', () => {});
    socket.write(greeting);
    let text = '';
    socket.on('data', (chunk) => {
      text += chunk.toString();
      for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n')) {
        const command: Command = JSON.parse(text.slice(0, end));
        text = text.slice(end + 1);
        script(command, socket);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(at, resolve));
}

function answer(socket: Socket, { id }: Command, value: unknown): void {
  socket.write(`${JSON.stringify({ return: value, id })}\r\n`);
}

const obliging: Script = (command, socket) => answer(socket, command, { said: command.execute });

describe('the QMP client', () => {
  test('matches answers to commands, whatever their order', async () => {
    const held: Command[] = [];
    await serve((command, socket) => {
      if (command.execute === 'qmp_capabilities') return answer(socket, command, {});
      held.push(command);
      if (held.length === 2) for (const one of held.reverse()) answer(socket, one, one.execute);
    });
    const client = await QmpClient.connect(path, 2_000);
    expect(await Promise.all([client.execute('a'), client.execute('b')])).toEqual(['a', 'b']);
    client.close();
  });

  test('puts lines together again however they arrive', async () => {
    await serve((command, socket) => {
      const bytes = Buffer.from(`${JSON.stringify({ return: 'täst', id: command.id })}\r\n`);
      for (const byte of bytes) socket.write(Buffer.of(byte));
    });
    const client = await QmpClient.connect(path, 2_000);
    expect(await client.execute('x')).toBe('täst');
    client.close();
  });

  test('a refusal of QEMU is an error with its words', async () => {
    await serve((command, socket) => {
      if (command.execute === 'qmp_capabilities') return answer(socket, command, {});
      socket.write(
        `${JSON.stringify({ id: command.id, error: { class: 'GenericError', desc: 'no way' } })}\n`,
      );
    });
    const client = await QmpClient.connect(path, 2_000);
    await expect(client.execute('x')).rejects.toThrow('QMP: no way');
    client.close();
  });

  test('events reach listeners until they leave', async () => {
    await serve((command, socket) => {
      socket.write('{"event": "STOP", "data": {"a": 1}, "timestamp": {}}\n');
      answer(socket, command, {});
    });
    const client = await QmpClient.connect(path, 2_000);
    const events: QmpEvent[] = [];
    const leave = client.onEvent((event) => events.push(event));
    await client.execute('x');
    leave();
    await client.execute('y');
    expect(events).toEqual([{ name: 'STOP', data: { a: 1 } }]);
    client.close();
  });

  test('a command that is not answered ends in time', async () => {
    await serve((command, socket) => {
      if (command.execute === 'qmp_capabilities') answer(socket, command, {});
    });
    const client = await QmpClient.connect(path, 2_000);
    await expect(client.execute('x', {}, 20)).rejects.toThrow('QMP x was not answered within 20 ms');
    client.close();
  });

  test('a peer that never greets is given up', async () => {
    await serve(obliging, '');
    await expect(QmpClient.connect(path, 20)).rejects.toThrow('no QMP greeting within 20 ms');
  });

  test.each([
    ['no JSON', 'hello\n', 'not JSON'],
    ['a line without end', 'x'.repeat(300 * 1024), 'too long'],
  ])('%s ends the connection', async (_, text, message) => {
    await serve((command, socket) => {
      if (command.execute === 'qmp_capabilities') answer(socket, command, {});
      else socket.write(text);
    });
    const client = await QmpClient.connect(path, 2_000);
    await expect(client.execute('x')).rejects.toThrow(message);
    await client.closed;
    await expect(client.execute('y')).rejects.toThrow('closed');
  });

  test('commands that wait for a peer are bounded in number', async () => {
    await serve((command, socket) => {
      if (command.execute === 'qmp_capabilities') answer(socket, command, {});
    });
    const client = await QmpClient.connect(path, 2_000);
    const waiting = Array.from({ length: 16 }, () => client.execute('x').catch(() => 'ended'));
    await expect(client.execute('x')).rejects.toThrow('too many');
    client.close();
    expect(new Set(await Promise.all(waiting))).toEqual(new Set(['ended']));
  });

  test('commands that wait are told when the peer goes', async () => {
    await serve((command, socket) => {
      if (command.execute === 'qmp_capabilities') answer(socket, command, {});
      else socket.destroy();
    });
    const client = await QmpClient.connect(path, 2_000);
    await expect(client.execute('x')).rejects.toThrow('closed');
    await client.closed;
  });

  test('no socket, or nobody behind it', async () => {
    await serve(obliging);
    await expect(QmpClient.connect(join(dir, 'none'), 500)).rejects.toThrow('ENOENT');
  });
});

describe('the control of a VM', () => {
  const identity = { uid: 'u', attempt: 1, hostUid: 'h' };
  const killed: string[] = [];
  const processes: Pick<VmProcesses, 'killAndWait'> = {
    killAndWait: async (bundle) => {
      killed.push(bundle.dir);
    },
  };
  const connect = async (script: Script) => {
    const bundle = { ...bundlePaths(dir, 'u', 1), controlSocket: path };
    await serve((command, socket) => {
      if (command.execute === 'qmp_capabilities') answer(socket, command, {});
      else if (command.execute === 'query-name') answer(socket, command, { name: 'u.1.h' });
      else script(command, socket);
    });
    return connectQemu(bundle, identity, processes);
  };

  test('a QEMU without a name is not ours', async () => {
    await serve((command, socket) => answer(socket, command, {}));
    const bundle = { ...bundlePaths(dir, 'u', 1), controlSocket: path };
    await expect(connectQemu(bundle, identity, processes)).rejects.toThrow('belongs to undefined');
  });

  test('events become states', async () => {
    const control = await connect((command, socket) => {
      for (const event of ['STOP', 'RESUME', 'RTC_CHANGE', 'SHUTDOWN']) {
        socket.write(`${JSON.stringify({ event })}\n`);
      }
      answer(socket, command, { status: 'shutdown' });
    });
    const states: string[] = [];
    control.onStateChange((state) => states.push(state));
    expect(await control.state()).toBe('stopped');
    expect(states).toEqual(['paused', 'running', 'stopped']);
    control.close();
  });

  test('a QEMU that refuses to quit is killed', async () => {
    const control = await connect((_, socket) => socket.destroy());
    await control.kill();
    expect(killed).toEqual([join(dir, 'runners', 'u.1.bundle')]);
  });

  test.each([
    ['running', 'running'],
    ['prelaunch', 'starting'],
    ['inmigrate', 'starting'],
    ['paused', 'paused'],
    ['io-error', 'paused'],
    ['guest-panicked', 'stopped'],
    ['shutdown', 'stopped'],
    [undefined, 'paused'],
  ])('status %j is %s', (status, state) => {
    expect(runState(status)).toBe(state);
  });
});
