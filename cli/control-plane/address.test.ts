import { createServer } from 'node:net';
import { describe, expect, it } from 'vitest';
import { availablePort, servedNames, serverUrl } from './address.ts';

describe('availablePort', () => {
  it('finds a free one', async () => {
    expect(await availablePort('127.0.0.1', undefined)).toBeGreaterThan(0);
  });

  it('refuses a port in use, an address of another machine and what is no address, in one line each', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = address !== null && typeof address === 'object' ? address.port : 0;
    await expect(availablePort('127.0.0.1', port)).rejects.toMatchObject({
      reason: 'PortTaken',
      message: `port: ${port} on 127.0.0.1 is used by another process; choose another, or none for any free one`,
    });
    await new Promise((resolve) => server.close(resolve));
    expect(await availablePort('127.0.0.1', port)).toBe(port);
    for (const wrong of ['192.0.2.1', 'no.such.host.invalid']) {
      await expect(availablePort(wrong, undefined)).rejects.toMatchObject({
        reason: 'BadAddress',
        message: `bind address: ${wrong} is no address of this machine; 127.0.0.1 always is`,
      });
    }
  });
});

describe('serverUrl and servedNames', () => {
  it.each([
    ['127.77.0.1', 'https://127.77.0.1:6443', '127.77.0.1'],
    ['0.0.0.0', 'https://127.0.0.1:6443', '127.0.0.1'],
    ['::', 'https://127.0.0.1:6443', '127.0.0.1'],
    ['fd00::1', 'https://[fd00::1]:6443', 'fd00::1'],
  ])('%s is reached at %s, which the certificate covers', (bindAddress, url, name) => {
    expect(serverUrl(bindAddress, 6443)).toBe(url);
    const names = servedNames(bindAddress);
    expect(names).toContain(name);
    expect(names).toContain('localhost');
    expect(new Set(names).size).toBe(names.length);
  });
});
