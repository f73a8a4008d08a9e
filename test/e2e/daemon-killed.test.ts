import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { untilNothingIsLeft } from '../chaos/oracle.ts';
import { Fleet } from '../harness/fleet.ts';
import { processesNaming } from '../harness/processes.ts';
import { until } from '../harness/until.ts';

let fleet: Fleet;
/** Addresses that VMs were reached at. */
const addresses = new Set<string>();
beforeAll(async () => {
  fleet = await Fleet.start();
});
afterEach(() =>
  untilNothingIsLeft({
    client: fleet.client,
    hostRoots: [fleet.host.root],
    isOfVm: (address) => addresses.has(address),
    declaredLeases: [fleet.host.name, 'shoes-vz-controller'],
  }),
);
afterAll(() => fleet.stop());

const bundles = (): Promise<string[]> => readdir(join(fleet.host.root, 'runners'));

/** What is seen from outside when the daemon is killed. */
const MOMENTS = [
  { when: 'clones', name: 'cloning', seen: async () => (await bundles()).length > 0 },
  {
    when: 'boots a VM',
    name: 'booting',
    seen: async (uid: string) => (await processesNaming(`${uid}.1.bundle`)).length > 0,
  },
] as const;

test.each(MOMENTS)(
  'a daemon that is killed while it $when leaves nothing, and the job is done once',
  async (moment) => {
    const script = { inline: 'echo ran >> ~/runs; cat ~/runs' };
    const { metadata } = await fleet.create(moment.name, { completion: 'Script', setupScript: script });
    await until(moment.name, () => moment.seen(metadata.uid));
    await fleet.host.daemon.kill9();
    await fleet.host.restart();
    const { status } = await fleet.whenPhase(moment.name, 'Finished');
    expect(status?.setup).toEqual({ exitCode: 0, outputTail: 'ran\n' });
    await fleet.burn(moment.name);
  },
);

test('a daemon that is killed while VMs are ready, at work and torn down leaves nothing', async () => {
  const waits = { inline: 'echo ran >> ~/runs; while [ ! -e ~/go ]; do sleep 0.2; done; cat ~/runs' };
  await fleet.create('ready', { setupScript: { inline: 'true' } });
  await fleet.create('working', { completion: 'Script', setupScript: waits });
  await fleet.create('torn-down', { setupScript: { inline: 'true' } });
  const [, working] = [
    await fleet.whenReady('ready'),
    await fleet.whenPhase('working', 'Running'),
    await fleet.whenReady('torn-down'),
  ];
  for (const name of ['ready', 'working', 'torn-down']) {
    const ssh = (await fleet.get(name))?.status?.ssh;
    if (ssh !== undefined) addresses.add(`${ssh.host}:${ssh.port}`).add(`${ssh.host}:8080`);
  }
  const { metadata } = (await fleet.get('torn-down')) ?? {};
  await fleet.delete('torn-down');
  await until('the VM to go', async () => (await processesNaming(`${metadata?.uid}.1.bundle`)).length === 0);
  await fleet.host.daemon.kill9();
  await fleet.ssh(working, 'touch ~/go');
  await fleet.host.restart();
  expect((await fleet.whenPhase('working', 'Finished')).status?.setup?.outputTail).toBe('ran\n');
  await fleet.whenReady('ready');
  for (const name of ['ready', 'working', 'torn-down']) await fleet.burn(name);
});
