import { expect, test } from 'vitest';
import { inspectInstallation } from './installation.ts';

test.each([
  ['no-such-qemu', 'no-such-qemu is not installed: install qemu-system-x86 and qemu-utils'],
  ['false', 'false does not run: Command failed: false'],
  ['true', 'true does not run: true --version does not tell its version'],
])('a QEMU that is %s', async (binary, message) => {
  const error = await inspectInstallation(binary).catch((reason: unknown) => reason);
  expect(error).toMatchObject({ reason: 'DriverUnavailable', message: expect.stringContaining(message) });
});
