import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { makeIdentity } from '../../node-daemon/seed/identity.ts';
import { rotateLogin } from '../../node-daemon/ssh/agentless.ts';
import { openSession, type SshTarget } from '../../node-daemon/ssh/session.ts';
import { waitForSsh } from '../../node-daemon/ssh/wait.ts';
import { RUN, startIdentifiedGuest } from './ssh-guests.ts';
import { createBundle, makeQemuMachine, type QemuMachine } from './vm-qemu-machine.ts';

const TEMPLATE = join(inject('templatesDir'), 'debian-plain');
const BOOT = { timeoutMs: 180_000 };
const LOGIN = { timeoutMs: 60_000 };

let machine: QemuMachine;
let own: SshTarget;
let templateKey: string;

beforeAll(async () => {
  machine = await makeQemuMachine(TEMPLATE);
  const { bundle, spec } = await createBundle(machine);
  const prepared = await machine.backend.driver.prepare(bundle, spec, new AbortController().signal);
  const { user, hostKey } = JSON.parse(await readFile(join(TEMPLATE, 'TemplateMetadata.json'), 'utf8'));
  templateKey = await readFile(join(TEMPLATE, 'id_ed25519'), 'utf8');
  own = { ...prepared.endpoints.ssh, user, hostKey, privateKey: makeIdentity().runnerKey.privateKey };
  const control = await startIdentifiedGuest(machine, { bundle, prepared });
  control.close();
});

afterAll(() => machine?.dispose());

test("a guest without the agent lets the template's key in once, and the Runner's own from then on", async () => {
  const first = await waitForSsh({ ...own, fallbackKey: templateKey }, BOOT);
  const rotated = await rotateLogin(first, own);
  await first.closed;
  const { stdout } = await rotated.exec('stat -c "%a %U" .ssh/authorized_keys; ls -A .ssh', RUN);
  expect(stdout).toBe(`600 ${own.user}\nauthorized_keys\n`);
  await expect(openSession({ ...own, privateKey: templateKey }, LOGIN)).rejects.toMatchObject({
    kind: 'auth',
  });
  // As after a restart of the daemon, which does not know how far it came.
  const again = await waitForSsh({ ...own, fallbackKey: templateKey }, BOOT);
  expect(await rotateLogin(again, own)).toBe(again);
  again.close();
  rotated.close();
});
