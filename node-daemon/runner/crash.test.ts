import { describe, expect, test } from 'vitest';
import type { RunnerSpec } from '../../crds/runner.ts';
import { World } from './testing/world.ts';

type Spec = Partial<RunnerSpec>;
type Life = (world: World) => Promise<void>;

/** Lives that a daemon's death may fall into. Each goes from a bound Runner to nothing left. */
const lives: readonly { readonly name: string; readonly spec: Spec; readonly live: Life }[] = [
  {
    name: 'a script that is the job',
    spec: { completion: 'Script', setupScript: { secretKeyRef: { name: 'setup', key: 'script' } } },
    live: async (world) => {
      await world.until('an end', () => /Finished|Error/.test(world.status('r')?.phase ?? ''));
    },
  },
  {
    name: 'a Runner that is deleted once it is Ready',
    spec: { completion: 'Never' },
    live: async (world) => {
      const isOver = () => /Finished|Error/.test(world.status('r')?.phase ?? '');
      await world.until('Ready', () => world.condition('r', 'Ready')?.status === 'True' || isOver());
      world.runners.delete('r');
      await world.until('the Runner to be gone', () => world.get('r') === undefined);
    },
  },
];

async function open(spec: Spec): Promise<World> {
  const world = await World.open();
  world.client.secrets.set('ci/setup', { script: 'echo token' });
  world.bound('r', spec);
  return world;
}

/** The number of boundaries that a life has when nobody dies. */
async function boundariesOf({ spec, live }: (typeof lives)[number]): Promise<number> {
  const world = await open(spec);
  const { life } = await world.start();
  await live(world);
  await world.untilClean();
  await world.close();
  return life.boundaries.length;
}

describe.each(lives)('a daemon that dies in the life of $name', (story) => {
  test('at any boundary converges when it is started again', async () => {
    const boundaries = await boundariesOf(story);
    expect(boundaries).toBeGreaterThan(20);
    for (let diesAt = 0; diesAt < boundaries; diesAt += 1) await diesOnce(story, diesAt);
  }, 120_000);
});

async function diesOnce({ spec, live }: (typeof lives)[number], diesAt: number): Promise<void> {
  const world = await open(spec);
  world.restarts = true;
  const { life } = await world.start({ diesAt });
  try {
    await live(world);
    await world.untilClean();
    expect(life.isDead).toBe(true);
    await world.expectNoLeak();
    await world.close();
  } catch (error) {
    const at = life.boundaries[diesAt];
    throw new Error(`death ${diesAt}, ${at?.when} ${at?.call}`, { cause: error });
  }
}
