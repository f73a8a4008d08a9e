import { createServer, type Server } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { requireFreePort } from './free-port.ts';

let server: Server | undefined;
afterEach(() => server?.close());

test('a port that is taken is refused by the name of its flag', async () => {
  server = createServer();
  const port = await new Promise<number>((resolve) => {
    server?.listen(0, '127.0.0.1', () => {
      const address = server?.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
  await expect(requireFreePort({ flag: '--x-port', host: '127.0.0.1', port })).rejects.toThrow(
    `--x-port: port ${port} of 127.0.0.1 is taken by another program; choose another`,
  );
  await requireFreePort({ flag: '--x-port', host: '127.0.0.2', port });
});

test('an address of another machine is refused', async () => {
  await expect(requireFreePort({ flag: '--x-port', host: '192.0.2.1', port: 1 })).rejects.toThrow(
    '--x-port: 192.0.2.1 is no address of this machine; 127.0.0.1 always is',
  );
});

test('port 0 asks for nothing', async () => {
  await requireFreePort({ flag: '--x-port', host: '192.0.2.1', port: 0 });
});
