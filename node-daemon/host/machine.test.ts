import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import { prettyName, readMachine, readVolume } from './machine.ts';

test.each([
  ['NAME="Debian"\nPRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n', 'Debian GNU/Linux 12 (bookworm)'],
  ["PRETTY_NAME='Void Linux'", 'Void Linux'],
  ['PRETTY_NAME=Alpine\n', 'Alpine'],
  ['NAME=x\n', undefined],
])('os-release %j names %j', (text, name) => {
  expect(prettyName(text)).toBe(name);
});

test('this machine', async () => {
  const machine = await readMachine(tmpdir());
  const volume = await readVolume(tmpdir());
  expect(machine.cpus).toBeGreaterThanOrEqual(1);
  expect(machine.memoryBytes).toBeGreaterThan(2 ** 28);
  expect(machine.diskBytes).toBe(volume.totalBytes);
  expect(volume.freeBytes).toBeLessThanOrEqual(volume.totalBytes);
  expect(machine.osVersion).not.toBe('');
});

test('a volume that is not there is an error, not one without room', async () => {
  await expect(readVolume('/no/such/place')).rejects.toMatchObject({ code: 'ENOENT' });
});
