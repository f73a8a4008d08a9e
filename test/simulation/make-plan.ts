import { CALM_AT_MS, type Deed, type HostPlan, type Plan, type RunnerWish, type Step } from './plan.ts';
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
  const steps = [
    ...makeRunners(random, hosts),
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
  for (let number = burstAt === undefined ? random.int(1, 6) : random.int(4, 9); number > 0; number -= 1) {
    const name = `r${number}`;
    const wish = makeWish(random, hasMac);
    const at = burstAt === undefined ? random.int(0, 70_000) : burstAt + random.int(0, 500);
    steps.push({ at, deed: { do: 'create', name, wish } });
    if (!random.chance(0.45)) continue;
    const gone = at + random.int(20, random.chance(0.4) ? 5_000 : 60_000);
    steps.push({ at: gone, deed: { do: 'delete', name } });
    if (random.chance(0.4)) {
      const again = makeWish(random, hasMac);
      steps.push({ at: gone + random.int(0, 15_000), deed: { do: 'create', name, wish: again } });
    }
  }
  return steps;
}

function makeWish(random: Random, hasMac: boolean): RunnerWish {
  const completion = random.pick(['Job', 'Script', 'Never'] as const);
  const job = { idleAfterMs: random.int(500, 5_000), busyAfterMs: random.int(500, 20_000) };
  const ms = random.int(200, 40_000) + job.idleAfterMs + job.busyAfterMs;
  const plan = {
    ms,
    exitCode: random.chance(0.8) ? 0 : random.int(1, 127),
    ...(completion === 'Job' || random.chance(0.2) ? { job } : {}),
    fromSecret: random.chance(0.5),
  };
  return {
    spec: {
      templateName: hasMac && random.chance(0.4) ? 'macos' : 'linux',
      completion,
      startAttempts: random.int(1, 4),
      ...(random.chance(0.1) ? { activeDeadlineSeconds: random.int(5, 90) } : {}),
      ...(random.chance(0.15) ? { ttlSecondsAfterFinished: random.int(0, 60) } : {}),
      ...(random.chance(0.3) ? { className: random.pick(['small', 'large']) } : {}),
      timeouts: { clone: '40s', boot: '60s', setup: '90s' },
    },
    ...(completion === 'Never' && random.chance(0.4) ? {} : { script: plan }),
  };
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

/** A host is lost for long enough that everybody notices, in the midst of starts. */
function makeLoss(random: Random, hosts: readonly HostPlan[]): Step[] {
  if (!random.chance(0.25)) return [];
  const { name: host } = random.pick(hosts as [HostPlan, ...HostPlan[]]);
  const hasMac = hosts.some(({ kind }) => kind === 'MacHost');
  const at = random.int(15_000, 60_000);
  const forMs = random.int(50_000, 110_000);
  const loss: Deed = random.chance(0.7)
    ? { do: 'cut', who: host, way: random.pick(['none', 'oneWay']), forMs }
    : { do: 'kill', who: host, downMs: forMs };
  const created = Array.from({ length: random.int(1, 3) }, (_, index): Step => {
    const deed: Deed = { do: 'create', name: `lost${index + 1}`, wish: makeWish(random, hasMac) };
    return { at: at - random.int(50, 12_000), deed };
  });
  return [...created, { at, deed: loss }];
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
  failClones: 2,
  hangBoots: 2,
  slowClones: 2,
  leakSlots: 1,
  removeBundle: 1,
  deleteLease: 1,
  cordon: 1,
  withdrawTemplate: 1,
  deleteTemplate: 1,
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
    cut: () => ({ do: 'cut', who, way: random.pick(['none', 'oneWay']), forMs: cutMs(random) }),
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
    slowClones: () => ({ do: 'slowClones', host, times, byMs: random.int(10_000, 70_000) }),
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
