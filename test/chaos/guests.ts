import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import type { GuestStatus } from '../../guest/protocol.ts';
import type { Guest, GuestAccess, GuestSession } from '../../node-daemon/runner/ports.ts';
import type { ScriptState } from '../../node-daemon/ssh/script.ts';
import { ProcessVmConnection } from '../../node-daemon/vm/fake/process-control.ts';

/** The guests of a ProcessDriver's VMs, reached over their control sockets: no SSH. */
export const processGuests: GuestAccess = {
  login: async ({ paths, prepared }: Guest) => {
    try {
      const connection = await ProcessVmConnection.open(paths.controlSocket, prepared.spec.identity);
      return { state: 'connected', session: asSession(connection) };
    } catch (error) {
      return { state: 'failed', message: error instanceof Error ? error.message : String(error) };
    }
  },
  status: async ({ host, port }, _token, signal) => {
    const socket = connect({ host, port, signal });
    return JSON.parse(await text(socket)) as GuestStatus;
  },
};

/** An abort is the end of the connection: whoever aborts lets go of it. */
const asSession = (connection: ProcessVmConnection): GuestSession => ({
  hostKey: 'ssh-ed25519 AAAAguest',
  closed: connection.closed,
  close: () => connection.close(),
  startScript: async (script) =>
    (await connection.ask({ verb: 'startScript', script })) as 'started' | 'alreadyStarted',
  observeScript: async () => (await connection.ask({ verb: 'observeScript' })) as ScriptState,
  watchScript: async () =>
    (await connection.ask({ verb: 'watchScript' })) as Exclude<ScriptState, { state: 'running' }>,
  outputTail: async () => (await connection.ask({ verb: 'outputTail' })) as string,
});
