import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Clock } from './clock.ts';
import { LeaseHolder, type LeaseHolderOptions } from './lease.ts';
import { LEASE_REF, LeaseServer, type Network } from './testing/lease-server.ts';
import { ManualClock } from './testing/manual-clock.ts';

interface Holder {
  readonly lease: LeaseHolder;
  readonly network: Network;
  readonly told: string[];
}

function setup() {
  const clock = new ManualClock();
  const server = new LeaseServer(clock);
  const holder = (
    identity: string,
    options: { wallOffsetMs?: number } & Partial<LeaseHolderOptions> = {},
  ): Holder => {
    const { wallOffsetMs = 0, ...more } = options;
    const network: Network = { state: 'up', delayMs: 0 };
    const told: string[] = [];
    const own: Clock = {
      now: () => clock.now() + wallOffsetMs,
      monotonic: () => clock.monotonic(),
      setTimeout: (callback, ms) => clock.setTimeout(callback, ms),
    };
    const lease = new LeaseHolder({
      resources: server.client(network),
      ref: LEASE_REF,
      identity,
      clock: own,
      random: () => 0,
      onAcquired: () => told.push('acquired'),
      onLost: (loss) => told.push(loss),
      ...more,
    });
    return { lease, network, told };
  };
  return { clock, server, holder };
}

describe('holding a lease', () => {
  test('creates it, then renews with one request every ten seconds', async () => {
    const { clock, server, holder } = setup();
    const a = holder('a');
    a.lease.start();
    await clock.advance(0);
    await a.lease.acquired;
    expect(server.lease?.spec).toMatchObject({
      holderIdentity: 'a',
      leaseDurationSeconds: 40,
      leaseTransitions: 0,
    });
    server.requests = [];
    await clock.advance(60_000);
    expect(server.requests).toEqual(Array(6).fill('patch'));
    expect(a.told).toEqual(['acquired']);
  });

  test('writes times that the API server reads', async () => {
    const { clock, server, holder } = setup();
    holder('a').lease.start();
    await clock.advance(0);
    expect(server.lease?.spec?.renewTime).toBe('2026-01-01T00:00:00.000000Z');
  });

  test('counts its term from before the renewal was sent', async () => {
    const { clock, holder } = setup();
    const a = holder('a');
    a.network.delayMs = 3_000;
    a.lease.start();
    await clock.advance(20_000);
    const sentAt = a.lease.freshUntil - 40_000;
    expect([0, 9_000, 12_000, 19_000].some((turn) => sentAt <= turn)).toBe(true);
    expect(a.lease.freshUntil).toBeLessThanOrEqual(clock.monotonic() - 6_000 + 40_000);
  });

  test('a term that was over before its answer came does not begin', async () => {
    const { clock, holder } = setup();
    const a = holder('a');
    a.network.delayMs = 25_000;
    a.lease.start();
    await clock.advance(75_000);
    expect([a.lease.isFresh, a.told]).toEqual([false, []]);
  });

  test('is lost when it could not be renewed in time, and gained again afterwards', async () => {
    const { clock, holder } = setup();
    const a = holder('a');
    a.lease.start();
    await clock.advance(0);
    a.network.state = 'cut';
    await clock.advance(39_999);
    expect([a.lease.isFresh, a.told]).toEqual([true, ['acquired']]);
    await clock.advance(1);
    expect([a.lease.isFresh, a.told]).toEqual([false, ['acquired', 'Expired']]);
    a.network.state = 'up';
    await clock.advance(2_000);
    expect([a.lease.isFresh, a.told]).toEqual([true, ['acquired', 'Expired', 'acquired']]);
  });

  test('goes on after answers were lost', async () => {
    const { clock, server, holder } = setup();
    const a = holder('a');
    a.lease.start();
    await clock.advance(0);
    a.network.state = 'deaf';
    await clock.advance(15_000);
    a.network.state = 'up';
    await clock.advance(4_000);
    expect(a.told).toEqual(['acquired']);
    expect(a.lease.freshUntil).toBeGreaterThan(clock.monotonic() + 35_000);
    expect(server.lease?.spec?.leaseTransitions).toBe(0);
  });

  test('goes on where somebody else edited the object', async () => {
    const { clock, server, holder } = setup();
    const a = holder('a');
    a.lease.start();
    await clock.advance(0);
    server.patch({ metadata: { labels: { by: 'hand' } } });
    await clock.advance(12_000);
    expect(a.told).toEqual(['acquired']);
    expect(server.lease?.metadata.labels).toEqual({ by: 'hand' });
  });

  test('is lost when the object is deleted, and made anew', async () => {
    const { clock, server, holder } = setup();
    const a = holder('a');
    a.lease.start();
    await clock.advance(0);
    server.delete();
    await clock.advance(10_000);
    expect(a.told).toEqual(['acquired', 'Deleted', 'acquired']);
  });

  test('is not relied upon after a sleep that the monotonic clock did not count', async () => {
    const { clock, holder } = setup();
    const a = holder('a');
    a.lease.start();
    await clock.advance(0);
    clock.jump(3_600_000);
    expect(a.lease.isFresh).toBe(false);
    await clock.advance(10_000);
    expect(a.lease.isFresh).toBe(true);
  });

  test('the same holder takes up its own lease at once after a restart', async () => {
    const { clock, holder } = setup();
    const first = holder('a');
    first.lease.start();
    await clock.advance(5_000);
    await first.lease.stop({ release: false });
    const second = holder('a');
    second.lease.start();
    await clock.advance(0);
    expect(second.lease.isFresh).toBe(true);
  });

  test('is relied upon for less than others wait, where that is asked for', async () => {
    const { clock, holder } = setup();
    const a = holder('a', { reliedOnMs: 15_000 });
    const b = holder('b');
    a.lease.start();
    await clock.advance(0);
    b.lease.start();
    a.network.state = 'cut';
    await clock.advance(14_999);
    expect(a.lease.isFresh).toBe(true);
    await clock.advance(1);
    expect([a.lease.isFresh, a.told, b.lease.isFresh]).toEqual([false, ['acquired', 'Expired'], false]);
    await clock.advance(25_001);
    expect(b.lease.isFresh).toBe(true);
  });

  test('says what keeps it from being renewed, as long as that lasts', async () => {
    const { clock, holder } = setup();
    const a = holder('a');
    a.lease.start();
    await clock.advance(0);
    a.network.state = 'cut';
    await clock.advance(10_000);
    expect(a.lease.problem).toMatchObject({ reason: 'Timeout' });
    a.network.state = 'up';
    await clock.advance(2_000);
    expect(a.lease.problem).toBeUndefined();
  });

  test('leaves no timer behind', async () => {
    const { clock, holder } = setup();
    const a = holder('a');
    a.lease.start();
    await clock.advance(5_000);
    await a.lease.stop({ release: true });
    expect([clock.timers, a.told]).toEqual([0, ['acquired', 'Released']]);
  });
});

describe('a lease that another holds', () => {
  test('is taken only after its whole term has been seen to pass without a renewal', async () => {
    const { clock, server, holder } = setup();
    const a = holder('a');
    a.lease.start();
    await clock.advance(0);
    await a.lease.stop({ release: false });
    await clock.advance(3_600_000);
    const b = holder('b');
    b.lease.start();
    await clock.advance(40_000);
    expect([b.lease.isFresh, b.lease.otherHolder]).toEqual([false, 'a']);
    await clock.advance(1);
    expect([b.lease.isFresh, b.lease.otherHolder]).toEqual([true, undefined]);
    expect(server.lease?.spec).toMatchObject({ holderIdentity: 'b', leaseTransitions: 1 });
  });

  test('is taken at once when it was released', async () => {
    const { clock, holder } = setup();
    const a = holder('a');
    const b = holder('b');
    a.lease.start();
    await clock.advance(0);
    b.lease.start();
    await clock.advance(5_000);
    await a.lease.stop({ release: true });
    await clock.advance(2_000);
    expect([b.lease.isFresh, b.told]).toEqual([true, ['acquired']]);
  });

  test('is taken only after its whole term when its object was deleted, for its holder may not know yet', async () => {
    const { clock, server, holder } = setup();
    const a = holder('a');
    a.lease.start();
    await clock.advance(0);
    a.network.state = 'cut';
    const b = holder('b');
    b.lease.start();
    await clock.advance(5_000);
    server.delete();
    b.lease.hurry();
    await clock.advance(35_000);
    expect([a.lease.isFresh, b.lease.isFresh]).toEqual([false, false]);
    await clock.advance(1);
    expect(b.lease.isFresh).toBe(true);
  });

  test('is tried at once where one hears that it has changed, also in the middle of a turn', async () => {
    const { clock, holder } = setup();
    const [a, b, c] = [holder('a'), holder('b'), holder('c')];
    a.lease.start();
    await clock.advance(0);
    b.lease.start();
    c.lease.start();
    await clock.advance(500);
    await a.lease.stop({ release: true });
    b.lease.hurry();
    await clock.advance(0);
    expect(b.lease.isFresh).toBe(true);
    c.network.delayMs = 100;
    c.lease.hurry();
    await clock.advance(150);
    await b.lease.stop({ release: true });
    c.lease.hurry();
    await clock.advance(500);
    expect(c.lease.isFresh).toBe(true);
  });

  test('is never taken while it is renewed, whatever the wall clocks say', async () => {
    const { clock, holder } = setup();
    const a = holder('a');
    const b = holder('b', { wallOffsetMs: 86_400_000 });
    a.lease.start();
    await clock.advance(0);
    b.lease.start();
    await clock.advance(300_000);
    expect([a.told, b.told]).toEqual([['acquired'], []]);
  });
});

type Step =
  | { readonly do: 'advance'; readonly ms: number }
  | {
      readonly do: 'network';
      readonly who: number;
      readonly state: Network['state'];
      readonly delayMs: number;
    }
  | { readonly do: 'restart'; readonly who: number; readonly release: boolean };

const who = fc.constantFrom(0, 1, 2);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('advance'), ms: fc.integer({ min: 0, max: 60_000 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('network'),
      who,
      state: fc.constantFrom<Network['state']>('up', 'cut', 'deaf'),
      delayMs: fc.constantFrom(0, 50, 5_000, 15_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('restart'), who, release: fc.boolean() }) },
);

test('whatever becomes of network and holders, no two rely on the lease at once', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 40, size: 'max' }), async (steps) => {
      const { clock, holder } = setup();
      const offsets = [0, 3_600_000, -3_600_000];
      const holders = offsets.map((wallOffsetMs, index) => holder(`h${index}`, { wallOffsetMs }));
      const check = () => {
        const fresh = holders.filter(({ lease }) => lease.isFresh);
        expect(fresh.length).toBeLessThanOrEqual(1);
      };
      for (const { lease } of holders) lease.start();
      for (const next of steps) {
        if (next.do === 'advance') {
          for (let left = next.ms; left > 0; left -= 1_000) {
            await clock.advance(Math.min(left, 1_000));
            check();
          }
        } else if (next.do === 'network') {
          Object.assign(holders[next.who]?.network ?? {}, { state: next.state, delayMs: next.delayMs });
        } else {
          // Four exchanges may be under way or to come, the release included; each takes 30 s at most.
          const stopped = holders[next.who]?.lease.stop({ release: next.release });
          await clock.advance(120_000);
          await stopped;
          holders[next.who] = holder(`h${next.who}`, { wallOffsetMs: offsets[next.who] ?? 0 });
          holders[next.who]?.lease.start();
        }
        check();
      }
    }),
    { numRuns: 150 },
  );
}, 30_000);
