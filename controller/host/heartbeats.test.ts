import { beforeEach, describe, expect, test } from 'vitest';
import type { Lease } from '../../kube/lease.ts';
import { ManualClock } from '../../kube/testing/manual-clock.ts';
import { Heartbeats } from './heartbeats.ts';

const GRACE_MS = 40_000;
const noLog = { debug() {}, info() {}, warn() {}, error() {} };

const lease = (renewal: number, over: Lease['spec'] = {}): Lease => ({
  apiVersion: 'coordination.k8s.io/v1',
  kind: 'Lease',
  metadata: { name: 'h' },
  spec: { holderIdentity: 'machine', renewTime: `renewal ${renewal}`, leaseDurationSeconds: 40, ...over },
});

/** The Lease as the API server has it, and an API that can be away. */
class World {
  readonly clock = new ManualClock();
  readonly changes: boolean[] = [];
  lease: Lease | undefined = lease(0);
  apiAway = false;
  reads = 0;
  readonly heartbeats: Heartbeats = new Heartbeats({
    read: async () => {
      this.reads += 1;
      if (this.apiAway) throw new Error('unreachable');
      return this.lease;
    },
    graceMs: GRACE_MS,
    onChange: (name) => this.changes.push(this.heartbeats.isLost(name)),
    clock: this.clock,
    log: noLog,
  });

  /** Renews as a daemon does; `seen`: the watch tells of it. */
  renew(renewal: number, seen = true): void {
    this.lease = lease(renewal);
    if (seen) this.heartbeats.observe('h', this.lease);
  }
}

let world: World;
beforeEach(() => {
  world = new World();
  world.heartbeats.start();
  world.heartbeats.watch('h');
  world.heartbeats.observe('h', world.lease);
});

describe('a host', () => {
  test('is lost a grace time after its last renewal was seen, and a tenth of its term more, and then back', async () => {
    await world.clock.advance(43_900);
    expect(world.heartbeats.isLost('h')).toBe(false);
    await world.clock.advance(200);
    expect(world.heartbeats.isLost('h')).toBe(true);
    await world.clock.advance(600_000);
    expect(world.changes).toEqual([true]);
    world.renew(1);
    expect(world.changes).toEqual([true, false]);
    await world.clock.advance(60_000);
    expect(world.changes, 'and lost again').toEqual([true, false, true]);
  });

  test('that renews costs no read, whatever times it writes', async () => {
    for (let renewal = 1; renewal <= 100; renewal += 1) {
      await world.clock.advance(10_000);
      world.clock.jump(renewal % 2 === 0 ? 3_600_000 : -7_200_000);
      world.renew(renewal);
    }
    expect(world.changes).toEqual([]);
    expect(world.reads).toBe(0);
  });

  test('whose renewals the watch does not show is asked for, and not judged', async () => {
    for (let renewal = 1; renewal <= 30; renewal += 1) {
      await world.clock.advance(10_000);
      world.renew(renewal, false);
    }
    expect(world.changes).toEqual([]);
    expect(world.reads).toBeGreaterThan(0);
  });

  test('is not judged while the API is away, nor for a whole grace time after', async () => {
    world.apiAway = true;
    await world.clock.advance(3_600_000);
    expect(world.heartbeats.isLost('h')).toBe(false);
    world.apiAway = false;
    await world.clock.advance(GRACE_MS - 10_000);
    expect(world.heartbeats.isLost('h')).toBe(false);
    await world.clock.advance(20_000);
    expect(world.heartbeats.isLost('h')).toBe(true);
  });

  test('is not judged by a time in which a watch broke', async () => {
    await world.clock.advance(30_000);
    world.heartbeats.apiLost();
    await world.clock.advance(40_000);
    expect(world.heartbeats.isLost('h')).toBe(false);
    await world.clock.advance(10_000);
    expect(world.heartbeats.isLost('h')).toBe(true);
  });

  test('without a Lease, or with one that nobody holds, is lost as well', async () => {
    world.lease = undefined;
    world.heartbeats.watch('other');
    await world.clock.advance(50_000);
    expect(world.heartbeats.isLost('other')).toBe(true);
    world.heartbeats.observe('other', lease(5, { holderIdentity: undefined }));
    expect(world.heartbeats.isLost('other')).toBe(true);
  });

  test('that is gone is neither asked for nor lost', async () => {
    world.heartbeats.unwatch('h');
    await world.clock.advance(600_000);
    expect(world.heartbeats.isLost('h')).toBe(false);
    expect(world.reads).toBe(0);
  });
});

test('nothing is left when it is stopped', async () => {
  await world.clock.advance(25_000);
  await world.heartbeats.stop();
  expect(world.clock.timers).toBe(0);
});
