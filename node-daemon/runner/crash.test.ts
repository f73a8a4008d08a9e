import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { hasFailed } from '../../crds/attempts.ts';
import type { RunnerSpec } from '../../crds/runner.ts';
import { VmError } from '../vm/driver.ts';
import { DIGEST, World } from './testing/world.ts';

/** A life that daemons' deaths may fall into. */
interface Story {
  readonly name: string;
  readonly spec: Partial<RunnerSpec>;
  /** What is so from the beginning. */
  readonly given?: (world: World) => void;
  /** From a bound Runner to the end of what the world does to it. */
  readonly live: (world: World) => Promise<void>;
}

const phaseOf = (world: World) => world.status('r')?.phase ?? '';
const isOver = (world: World) => /^(Finished|Error)$/.test(phaseOf(world));
const hasFailedNow = (world: World) => {
  const runner = world.get('r');
  return runner !== undefined && hasFailed(runner);
};
const isReady = (world: World) => world.condition('r', 'Ready')?.status === 'True';
const started = (world: World) =>
  world.until('a VM', () => world.machine.running().length > 0 || isOver(world));
const gone = (world: World) => world.until('the Runner to be gone', () => world.get('r') === undefined);

const stories: readonly Story[] = [
  {
    name: 'of a script that is the job',
    spec: { completion: 'Script', setupScript: { secretKeyRef: { name: 'setup', key: 'script' } } },
    live: (world) => world.until('an end', () => isOver(world)),
  },
  {
    name: 'of a Runner that is deleted once it is Ready',
    spec: { completion: 'Never' },
    live: async (world) => {
      await world.until('Ready', () => isReady(world) || isOver(world));
      world.runners.delete('r');
      await gone(world);
    },
  },
  {
    name: 'of a Runner that is deleted while it boots',
    spec: {},
    live: async (world) => {
      world.guests.sshUp = false;
      await started(world);
      world.runners.delete('r');
      await gone(world);
    },
  },
  {
    name: 'of a VM that dies',
    spec: { completion: 'Never' },
    live: async (world) => {
      await world.until('Ready', () => isReady(world) || isOver(world));
      for (const { vm } of world.guests.all()) vm.end({ code: 1, signal: null });
      await world.until('an end', () => isOver(world));
    },
  },
  {
    name: 'of a binding that moves to another host',
    spec: {},
    live: async (world) => {
      world.guests.sshUp = false;
      await started(world);
      if (!isOver(world)) world.runners.bind('r', { name: 'host-b', uid: 'other-uid' }, DIGEST);
      const own = () => world.get('r')?.metadata.finalizers?.some((name) => name.includes(world.host.name));
      await world.until('the finalizer to go', () => own() === false);
      world.runners.patch('r', { metadata: { finalizers: [] } });
    },
  },
  {
    name: 'of a start that fails, and of the next, which succeeds',
    spec: { startAttempts: 3, completion: 'Script', timeouts: { boot: '1m' } },
    given: (world) => {
      world.guests.sshUp = false;
    },
    live: async (world) => {
      await world.until('the start to fail', () => hasFailedNow(world));
      world.guests.sshUp = true;
      world.runners.bind('r', world.host, DIGEST);
      await world.until('an end', () => isOver(world));
      expect(world.status('r')).toMatchObject({ attempt: 2, attempts: [{ attempt: 1 }] });
    },
  },
  {
    name: 'of a clone that fails for the last time',
    spec: { startAttempts: 1 },
    given: (world) => world.machine.fail('prepare', new VmError('CloneFailed', 'no room'), 100),
    live: async (world) => {
      await world.until('an end', () => isOver(world));
      expect(world.condition('r', 'Stalled')?.reason).toBe('CloneFailed');
    },
  },
  {
    name: 'of a Runner whose deadline passes while it boots',
    spec: { completion: 'Never', activeDeadlineSeconds: 20 },
    given: (world) => {
      world.guests.sshUp = false;
    },
    live: async (world) => {
      await world.until('an end', () => isOver(world));
      expect(world.condition('r', 'Stalled')?.reason).toBe('DeadlineExceeded');
    },
  },
  {
    name: 'of a start that meets a limit of which nothing is left but a reboot',
    spec: { startAttempts: 1 },
    given: (world) => {
      world.machine.vmLimit = 2;
      world.machine.leakedSlots = 2;
    },
    live: async (world) => {
      await world.until('the start to fail', () => hasFailedNow(world));
      expect(world.status('r')?.attempts).toMatchObject([{ reason: 'HostNeedsReboot' }]);
      expect(world.host.needsReboot).toBeDefined();
    },
  },
  {
    name: 'of a Runner that does not fit, until it does',
    spec: { completion: 'Script' },
    given: (world) => {
      world.host.allocatable = { ...world.host.allocatable, runners: 0 };
    },
    live: async (world) => {
      await world.until('it to go back', () => hasFailedNow(world));
      world.host.allocatable = { ...world.host.allocatable, runners: 1 };
      world.runners.bind('r', world.host, DIGEST);
      await world.until('an end', () => isOver(world));
      expect(world.status('r')).toMatchObject({ attempt: 2, attempts: [{ reason: 'OutOfCapacity' }] });
    },
  },
  {
    name: 'of a host object that is deleted',
    spec: { completion: 'Never' },
    live: async (world) => {
      await started(world);
      world.hostChanged({ state: 'deleting' });
      await world.until('an end', () => isOver(world) || hasFailedNow(world));
    },
  },
];

/** Lives it, with a death of the daemon at each of these boundaries, one daemon after the other. */
async function live({ spec, given, live }: Story, deaths: readonly number[]): Promise<World> {
  const world = await World.open();
  world.client.secrets.set('ci/setup', { script: 'echo token' });
  world.restarts = true;
  world.deaths.push(...deaths);
  world.bound('r', spec);
  given?.(world);
  try {
    await world.start();
    await live(world);
    await world.untilClean();
    await world.expectNoLeak();
    await world.close();
  } catch (error) {
    const ends = world.lives.filter(({ isDead }) => isDead).map(({ boundaries }) => boundaries.at(-1));
    throw new Error(`deaths ${ends.map((end) => `${end?.when} ${end?.call}`).join(', ')}`, { cause: error });
  }
  return world;
}

describe.each(stories)('a daemon that dies in the life $name', (story) => {
  test('at any boundary converges when it is started again', async () => {
    const undisturbed = await live(story, []);
    const boundaries = undisturbed.lives[0]?.boundaries.length ?? 0;
    expect(boundaries).toBeGreaterThan(10);
    for (let diesAt = 0; diesAt < boundaries; diesAt += 1) {
      const world = await live(story, [diesAt]);
      expect(world.lives[0]?.isDead).toBe(true);
    }
  }, 120_000);

  test('again and again converges, too', async () => {
    const deaths = fc.array(fc.nat({ max: 30 }), { minLength: 2, maxLength: 5 });
    await fc.assert(
      fc.asyncProperty(deaths, async (each) => {
        await live(story, each);
      }),
      { numRuns: 15 },
    );
  }, 120_000);
});
