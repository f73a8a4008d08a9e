import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer } from 'node:net';

/** Whether somebody takes TCP connections there. */
export function isListening(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: 2000 });
    const settle = (answer: boolean) => () => {
      socket.destroy();
      resolve(answer);
    };
    socket.once('connect', settle(true));
    socket.once('error', settle(false));
    socket.once('timeout', settle(false));
  });
}

/** A port of loopback that nobody listens on now. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/**
 * An address of loopback for one VM alone. A port of 127.0.0.1 that was free a moment ago may by now be the near end
 * of somebody's connection, and a QEMU that is to listen there ends at once.
 */
export const loopbackAddress = (): string =>
  `127.${randomInt(128, 255)}.${randomInt(0, 256)}.${randomInt(1, 255)}`;
