import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { RunnerSpec } from '../../crds/runner.ts';
import type { TemplateSpec } from '../../crds/template.ts';
import { stored } from '../../test/builders/stored.ts';
import { template } from '../../test/builders/template.ts';
import { World } from './testing/world.ts';
import { type Timeouts, timeoutsOf } from './timeouts.ts';

const all = { clone: '1s', boot: '2s', setup: '3s' };

describe('how long each part of a start may take', () => {
  test.each<[RunnerSpec['completion'], RunnerSpec['timeouts'], TemplateSpec['timeouts'], Timeouts]>([
    ['Job', undefined, undefined, { cloneMs: 120_000, bootMs: 300_000, setupMs: 1_800_000 }],
    ['Never', {}, {}, { cloneMs: 120_000, bootMs: 300_000, setupMs: 1_800_000 }],
    ['Script', {}, {}, { cloneMs: 120_000, bootMs: 300_000, setupMs: 21_600_000 }],
    ['Job', all, undefined, { cloneMs: 1_000, bootMs: 2_000, setupMs: 3_000 }],
    ['Job', undefined, all, { cloneMs: 1_000, bootMs: 2_000, setupMs: 3_000 }],
    ['Script', undefined, all, { cloneMs: 1_000, bootMs: 2_000, setupMs: 3_000 }],
    ['Job', { boot: '1m' }, all, { cloneMs: 1_000, bootMs: 60_000, setupMs: 3_000 }],
    ['Job', { setup: '1h' }, { boot: '2s' }, { cloneMs: 120_000, bootMs: 2_000, setupMs: 3_600_000 }],
  ])('with completion %s is, of %o and the Template %o: %o', (completion, runners, templates, timeouts) => {
    expect(timeoutsOf({ completion, timeouts: runners }, { timeouts: templates })).toEqual(timeouts);
  });
});

describe('timeouts of the Template', () => {
  let world: World;
  beforeEach(async () => {
    world = await World.open();
    world.guests.sshUp = false;
    declare({ boot: '10s' });
  });
  afterEach(() => world.close());

  const declare = (timeouts: TemplateSpec['timeouts']): void => {
    const spec = { source: { bundle: { name: 'debian' } }, timeouts };
    world.client.templates.set('debian', stored(template({ metadata: { name: 'debian' }, spec })));
  };
  /** After how long its boot is given up. */
  const givenUpAfter = async (name: string): Promise<number> => {
    const began = world.clock.monotonic();
    await world.untilPhase(name, 'Error');
    expect(world.condition(name, 'Stalled')?.reason).toBe('BootTimeout');
    return world.clock.monotonic() - began;
  };

  test('count where the Runner has none', async () => {
    await world.start();
    world.bound('r');
    expect(await givenUpAfter('r')).toBe(10_000);
    world.bound('own', { timeouts: { boot: '20s' } });
    expect(await givenUpAfter('own')).toBe(20_000);
  });

  test('limit cloning, too', async () => {
    declare({ clone: '10s' });
    world.machine.hang('prepare');
    for (const call of ['runtime.prepare', 'driver.prepare']) world.hanging.add(call);
    await world.start();
    world.bound('r');
    await world.untilPhase('r', 'Error');
    expect(world.condition('r', 'Stalled')?.message).toContain('within 10 s (timeouts.clone)');
  });

  test.each<[string, () => void]>([
    ['are changed', () => declare({ boot: '1s' })],
    ['go', () => declare(undefined)],
    ['go with the Template', () => world.client.templates.delete('debian')],
  ])('that %s later change nothing for a VM that was made before, through a restart', async (_, change) => {
    await world.start();
    world.bound('r');
    await world.untilPhase('r', 'Booting');
    change();
    await world.pass(5_000);
    await world.kill();
    await world.start();
    const left = await givenUpAfter('r');
    expect(left).toBe(5_000);
  });
});
