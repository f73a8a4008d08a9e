import { makeBurstTrouble, makeCrashes, makeLoss } from './make-scenes.ts';
import { makeWish } from './make-wish.ts';
import { CALM_AT_MS, type Deed, type HostPlan, type Plan, type Step } from './plan.ts';
import { Random } from './random.ts';

/** When chaos begins: by then hosts are registered where nothing is in their way. */
const BEGINS_AT_MS = 5_000;
const ENDS_AT_MS = 140_000;

/** What befalls the system of this seed. */
export function makePlan(seed: number): Plan {
  const random = new Random(seed).stream('plan');
  const hosts = makeHosts(random);
  const elects = random.chance(0.4);
  const controllers = elects && random.chance(0.6) ? ['controller', 'controller-b'] : ['controller'];
  const runners = makeRunners(random, hosts);
  const steps = [
    ...runners,
    ...makeCrashes(random, hosts, runners),
    ...makeFaults(random, { hosts, controllers }),
    ...makeLoss(random, hosts),
  ];
  return { seed, hosts, controllers, elects, steps: steps.toSorted((a, b) => a.at - b.at) };
}

function makeHosts(random: Random): HostPlan[] {
  const names = ['host-a', 'host-b', 'host-c'].slice(0, random.int(1, 3));
  const hosts: HostPlan[] = names.map((name) => ({ name, kind: 'LinuxHost', maxRunners: random.int(1, 3) }));
  if (random.chance(0.3)) hosts.push({ name: 'mac-a', kind: 'MacHost', maxRunners: 2 });
  return hosts;
}

function makeRunners(random: Random, hosts: readonly HostPlan[]): Step[] {
  const steps: Step[] = [];
  const hasMac = hosts.some(({ kind }) => kind === 'MacHost');
  // All at once, and more than there is room for: bindings queue.
  const burstAt = random.chance(0.3) ? random.int(0, 70_000) : undefined;
  const areEndless = burstAt !== undefined && random.chance(0.5);
  for (let number = burstAt === undefined ? random.int(1, 6) : random.int(4, 9); number > 0; number -= 1) {
    const name = `r${number}`;
    const { spec, ...wish } = makeWish(random, hasMac);
    const completion = areEndless ? 'Never' : spec.completion;
    const at = burstAt === undefined ? random.int(0, 70_000) : burstAt + random.int(0, 500);
    steps.push({ at, deed: { do: 'create', name, wish: { ...wish, spec: { ...spec, completion } } } });
    if (!random.chance(areEndless ? 0.6 : 0.45)) continue;
    const gone = at + random.int(20, random.chance(0.4) ? 5_000 : 60_000);
    steps.push({ at: gone, deed: { do: 'delete', name } });
    if (random.chance(0.4)) {
      const again = makeWish(random, hasMac);
      steps.push({ at: gone + random.int(0, 15_000), deed: { do: 'create', name, wish: again } });
    }
  }
  return burstAt === undefined ? steps : [...steps, ...makeBurstTrouble(random, burstAt, areEndless)];
}

type Cast = Pick<Plan, 'hosts' | 'controllers'>;

function makeFaults(random: Random, cast: Cast): Step[] {
  const number = random.chance(0.1) ? 0 : random.int(1, 7);
  return Array.from({ length: number }, () => {
    const deed = makeFault(random, cast);
    // A death at a boundary may fall into the very first steps, too.
    const isEarly = deed.do === 'killAt' && random.chance(0.2);
    return { at: isEarly ? random.int(0, 600) : random.int(BEGINS_AT_MS, ENDS_AT_MS), deed };
  });
}

/** How often each kind of fault is drawn, against the others. */
const WEIGHTS = {
  kill: 3,
  killAt: 14,
  restart: 3,
  cut: 5,
  lag: 6,
  loseAnswers: 6,
  refuse: 3,
  apiDown: 3,
  compact: 2,
  dropWatches: 3,
  jumpClock: 2,
  reboot: 3,
  fillDisk: 2,
  breakDisk: 1,
  blind: 1,
  endVm: 3,
  hangVm: 2,
  stickVm: 1,
  resetGuest: 2,
  failClones: 4,
  hangBoots: 3,
  slowClones: 4,
  leakSlots: 1,
  removeBundle: 1,
  deleteLease: 1,
  cordon: 1,
  withdrawTemplate: 1,
  deleteTemplate: 3,
  loseHost: 2,
  deleteHost: 2,
} satisfies Partial<Record<Deed['do'], number>>;

type Fault = keyof typeof WEIGHTS;

function makeFault(random: Random, { hosts, controllers }: Cast): Deed {
  const host = random.pick(hosts.map(({ name }) => name) as [string, ...string[]]);
  const who = random.chance(0.35) ? random.pick(controllers as [string, ...string[]]) : host;
  const forMs = random.int(500, CALM_AT_MS - ENDS_AT_MS);
  const downMs = random.chance(0.2) ? random.int(40_000, 70_000) : random.int(100, 8_000);
  const times = random.int(1, 3);
  const forgets = random.chance(0.5);
  const deeds: Record<Fault, () => Deed> = {
    kill: () => ({ do: 'kill', who, downMs }),
    killAt: () => ({ do: 'killAt', who, boundaries: random.int(0, random.chance(0.7) ? 10 : 40), downMs }),
    restart: () => ({ do: 'restart', who }),
    cut: () => ({ do: 'cut', who, way: random.pick(['none', 'oneWay']), forMs: cutMs(random), forgets }),
    lag: () => ({ do: 'lag', who, byMs: random.int(200, 15_000), forMs }),
    loseAnswers: () => ({ do: 'loseAnswers', who, times }),
    refuse: () => ({ do: 'refuse', who, code: random.pick([429, 500, 503]), times }),
    apiDown: () => ({ do: 'apiDown', forMs, forgets }),
    compact: () => ({ do: 'compact' }),
    dropWatches: () => ({ do: 'dropWatches', forgets }),
    jumpClock: () => ({ do: 'jumpClock', who, byMs: random.int(-3_600_000, 3_600_000) }),
    reboot: () => ({ do: 'reboot', host, downMs: downMs + 5_000 }),
    fillDisk: () => ({ do: 'fillDisk', host, forMs }),
    breakDisk: () => ({ do: 'breakDisk', host, forMs }),
    blind: () => ({ do: 'blind', host, forMs }),
    endVm: () => ({ do: 'endVm', host }),
    hangVm: () => ({ do: 'hangVm', host }),
    resetGuest: () => ({ do: 'resetGuest', host }),
    stickVm: () => ({ do: 'stickVm', host, forMs }),
    failClones: () => ({ do: 'failClones', host, times }),
    leakSlots: () => ({ do: 'leakSlots', host }),
    slowClones: () => ({ do: 'slowClones', host, times, byMs: random.int(10_000, 80_000) }),
    hangBoots: () => ({ do: 'hangBoots', host, times: 1 }),
    removeBundle: () => ({ do: 'removeBundle', host }),
    deleteLease: () => ({ do: 'deleteLease', host }),
    cordon: () => ({ do: 'cordon', host, forMs }),
    withdrawTemplate: () => ({ do: 'withdrawTemplate', host, forMs }),
    deleteTemplate: () => ({ do: 'deleteTemplate', forMs }),
    loseHost: () => ({ do: 'loseHost', host }),
    deleteHost: () => ({ do: 'deleteHost', host }),
  };
  return deeds[drawn(random)]();
}

function drawn(random: Random): Fault {
  const entries = Object.entries(WEIGHTS) as [Fault, number][];
  let left = random.next() * entries.reduce((sum, [, weight]) => sum + weight, 0);
  for (const [fault, weight] of entries) {
    left -= weight;
    if (left < 0) return fault;
  }
  return 'kill';
}

/** Short ones are noticed by nobody; those over a Lease's term make a lost host. */
const cutMs = (random: Random): number =>
  random.chance(0.5) ? random.int(500, 20_000) : random.int(45_000, 100_000);
