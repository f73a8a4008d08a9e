import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { RUNNERS } from '../../crds/resources.ts';
import { compactEtcd } from '../harness/etcd.ts';
import { until } from '../harness/until.ts';
import type { ChaosHost } from './host.ts';
import { isLong } from './length.ts';
import { ChaosWorld, conditionOf } from './world.ts';

/** Short, so that an outage of many terms, as an hour is of the usual one, takes seconds. */
const LEASE = { durationMs: 2_000, renewEveryMs: 500 };
const HOST_GRACE_MS = 3_000;
const OUTAGE_MS = (isLong ? 90 : 3) * LEASE.durationMs;

let world: ChaosWorld;
let host: ChaosHost;
beforeAll(async () => {
  world = await ChaosWorld.open({ hostGraceMs: HOST_GRACE_MS });
  host = await world.host({ lease: LEASE });
});
afterEach(() => world.untilNothingIsLeft());
afterAll(() => world.close());

/** Without etcd the API server goes, too: the short version takes both at once only in the storm below. */
const KILLED = isLong ? (['kubeApiserver', 'etcd'] as const) : (['kubeApiserver'] as const);

test.each(KILLED)(
  'VMs and jobs go on while %s is away for many terms of a Lease, and what happened meanwhile is told',
  async (killed) => {
    const [ends, runs, dies] = ['ends', 'runs', 'dies'].map((name) => `${name}-${killed.toLowerCase()}`) as [
      string,
      string,
      string,
    ];
    for (const name of [ends, runs, dies]) {
      await world.create(name, { setupScript: { inline: world.waiting(name) } });
    }
    const [, running, dying] = await Promise.all(
      [ends, runs, dies].map((n) => world.whenPhase(n, 'Running')),
    );
    const bundleOf = (uid = ''): string => `${uid}.1.bundle`;
    const pids = await host.vmPids(bundleOf(running?.metadata.uid));
    await world.withoutApi(async () => {
      await world.letGo(ends);
      await host.killVms(bundleOf(dying?.metadata.uid));
      await delay(OUTAGE_MS);
      expect(await host.vmPids(bundleOf(running?.metadata.uid))).toEqual(pids);
    }, killed);
    const ended = await world.whenPhase(ends, 'Finished');
    expect(ended.status?.setup).toEqual({ exitCode: 0, outputTail: 'bye\n' });
    expect(conditionOf(await world.whenPhase(dies, 'Error'), 'Stalled')?.reason).toBe('VmExited');
    expect(await host.vmPids(bundleOf(running?.metadata.uid))).toEqual(pids);
    await world.letGo(runs);
    await world.whenPhase(runs, 'Finished');
    for (const name of [ends, runs, dies]) expect(await world.runs(name)).toBe(1);
    await world.burn(ends, runs, dies);
  },
);

/** Before the effects that the binding protocol turns on. */
const GATE = 'runners.patchStatus(SSHReady)';
const MOMENTS = isLong ? ['processes.spawn(argv, env, file)', GATE, 'runners.patch(metadata)'] : [GATE];

test.each(MOMENTS)(
  'an API server that dies just before %s costs no script and leaves nothing',
  async (call) => {
    const name = `moment-${MOMENTS.indexOf(call)}`;
    const held = await host.daemon.holdAt({ call, nth: 0, when: 'before' });
    await world.create(name);
    await held.reached;
    await world.withoutApi(async () => held.release());
    await world.whenPhase(name, 'Finished');
    expect(await world.runs(name)).toBe(1);
    await world.burn(name);
  },
);

test('what was missed in a history that is compacted is found all the same', async () => {
  await world.create('before', { setupScript: { inline: world.waiting('before') } });
  await world.whenPhase('before', 'Running');
  const processes = [host.daemon, world.controller];
  for (const process of processes) process.signal('SIGSTOP');
  try {
    await world.delete('before');
    await world.create('after');
    const { resourceVersion } = await world.client.resources(RUNNERS).list();
    await compactEtcd(world.controlPlane.dataDir, resourceVersion);
    await world.withoutApi(async () => undefined);
  } finally {
    for (const process of processes) process.signal('SIGCONT');
  }
  await world.whenGone('before');
  await world.whenPhase('after', 'Finished');
  expect([await world.runs('before'), await world.runs('after')]).toEqual([1, 1]);
  await world.burn('after');
});

test('API servers that die again and again hold lives up, and cost nothing', async () => {
  const names = Array.from({ length: isLong ? 40 : 6 }, (_, index) => `stormy-${index}`);
  const creating = (async () => {
    for (const name of names) {
      await until(`${name} to be created`, () =>
        world.create(name).then(
          () => true,
          () => false,
        ),
      );
    }
  })();
  for (let round = 0; round < (isLong ? 10 : 2); round += 1) {
    await world.withoutApi(async () => undefined, round % 2 === 0 ? 'kubeApiserver' : 'etcd');
  }
  await creating;
  for (const name of names) {
    await world.whenPhase(name, 'Finished');
    expect(await world.runs(name)).toBe(1);
  }
  await world.burn(...names);
});
