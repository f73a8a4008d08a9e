import { makeWish } from './make-wish.ts';
import type { Deed, HostPlan, Step } from './plan.ts';
import type { Random } from './random.ts';

/**
 * What hits the controller while it binds many at once. `areEndless`: nobody gives a slot back but who is deleted, so that
 * each deletion counts.
 */
export function makeBurstTrouble(random: Random, at: number, areEndless: boolean): Step[] {
  const who = 'controller';
  const lag: Deed = { do: 'lag', who, byMs: random.int(100, 3_000), forMs: 10_000 };
  const soon = at + random.int(0, 400);
  const later = at + random.int(2_000, 15_000);
  const forMs = random.int(20_000, 60_000);
  const cut: Step = { at: later, deed: { do: 'cut', who, way: 'none', forMs, forgets: true } };
  const downMs = random.int(100, 3_000);
  const trouble = random.pick<Step>([
    { at: soon, deed: { do: 'loseAnswers', who, times: random.int(1, 6) } },
    { at: soon, deed: { do: 'killAt', who, boundaries: random.int(0, 30), downMs } },
    ...(areEndless ? [cut, cut] : []),
  ]);
  return [
    ...(random.chance(0.5) ? [{ at: Math.max(0, at - 500), deed: lag }] : []),
    ...(random.chance(0.7) ? [trouble] : []),
  ];
}

/** Daemons die where most of their effects are: as Runners come and go. */
export function makeCrashes(random: Random, hosts: readonly HostPlan[], runners: readonly Step[]): Step[] {
  return runners.flatMap(({ at }): Step[] => {
    if (!random.chance(0.2)) return [];
    const { name: who } = random.pick(hosts as [HostPlan, ...HostPlan[]]);
    const downMs = random.int(100, 8_000);
    const deed: Deed = { do: 'killAt', who, boundaries: random.int(0, 20), downMs };
    return [{ at: at + random.int(0, 300), deed }];
  });
}

/**
 * A host is lost for long enough that everybody notices, in the midst of starts. They may take until nobody can tell any
 * more whose they are, and what happened meanwhile may be told late.
 */
export function makeLoss(random: Random, hosts: readonly HostPlan[]): Step[] {
  if (!random.chance(0.45)) return [];
  const { name: host } = random.pick(hosts as [HostPlan, ...HostPlan[]]);
  const hasMac = hosts.some(({ kind }) => kind === 'MacHost');
  const at = random.int(15_000, 60_000);
  const forMs = random.int(50_000, 110_000);
  const loss: Deed = random.chance(0.7)
    ? { do: 'cut', who: host, way: random.pick(['none', 'oneWay']), forMs, forgets: random.chance(0.3) }
    : { do: 'kill', who: host, downMs: forMs };
  const created = Array.from({ length: random.int(1, 4) }, (_, index): Step => {
    const deed: Deed = { do: 'create', name: `lost${index + 1}`, wish: makeWish(random, hasMac) };
    return { at: at - random.int(50, 8_000), deed };
  });
  const slow: Deed = { do: 'slowClones', host, times: 3, byMs: random.int(20_000, 39_000) };
  const lag: Deed = { do: 'lag', who: host, byMs: random.int(2_000, 15_000), forMs: forMs + 20_000 };
  return [
    ...(random.chance(0.5) ? [{ at: at - 8_000, deed: slow }] : []),
    ...(random.chance(0.5) ? [{ at, deed: lag }] : []),
    ...created,
    { at, deed: loss },
  ];
}
