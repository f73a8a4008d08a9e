import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect, inject, test } from 'vitest';
import { seedImage } from '../../node-daemon/seed/seed-disk.ts';
import { waitForSsh } from '../../node-daemon/ssh/wait.ts';
import { GuestVm, inGuest, makeSeed } from './guest-vm.ts';

const TEMPLATE = join(inject('templatesDir'), 'debian');
const PLAIN_TEMPLATE = join(inject('templatesDir'), 'debian-plain');

let vm: GuestVm | undefined;
afterEach(async () => {
  await vm?.destroy();
  vm = undefined;
});

test('a guest without its seed disk says so and serves no SSH', async () => {
  vm = await GuestVm.start({ templateDir: TEMPLATE });
  await vm.awaitSerial('there is no disk with the serial shoesvz-seed; sshd is not started');
  const keys = makeSeed(1).identity;
  const login = vm.tryLogin({ privateKey: keys.runnerKey.privateKey, hostKey: undefined });
  await expect(login).rejects.toMatchObject({ name: 'SshError' });
});

test('a guest with a damaged seed disk says so and serves no SSH', async () => {
  const seed = makeSeed(1);
  const image = await seedImage(seed);
  image.writeUInt8(image.readUInt8(600) ^ 1, 600);
  vm = await GuestVm.start({ templateDir: TEMPLATE, seed: image });
  await vm.awaitSerial('its contents are damaged; sshd is not started');
  const login = vm.tryLogin({ privateKey: seed.identity.runnerKey.privateKey, hostKey: undefined });
  await expect(login).rejects.toMatchObject({ name: 'SshError' });
});

test("a template without the agent serves with its own keys, which are in the template's bundle", async () => {
  vm = await GuestVm.start({ templateDir: PLAIN_TEMPLATE });
  const metadata = JSON.parse(await readFile(join(PLAIN_TEMPLATE, 'TemplateMetadata.json'), 'utf8'));
  const privateKey = await readFile(join(PLAIN_TEMPLATE, 'id_ed25519'), 'utf8');
  const session = await waitForSsh(vm.target({ privateKey, hostKey: metadata.hostKey }), {
    timeoutMs: 120_000,
  });
  expect(await inGuest(session, 'id -un; ls /usr/lib/shoesvz | grep -c agent.js || true')).toBe('runner\n0');
  session.close();
});
