import { SYSTEM_NAMESPACE } from '../../crds/meta.ts';
import { createRunner, declareTemplate } from './declare.ts';
import type { SimHost } from './host/host.ts';
import type { SimVm } from './host/vm.ts';
import { NAMESPACE, USER } from './names.ts';
import type { Deed, DeedName } from './plan.ts';
import type { World } from './world.ts';

type Doing<N extends DeedName> = (world: World, deed: Extract<Deed, { do: N }>) => void;

/** Carries one deed out, and mends what it broke when its time is over. */
export function carryOut(world: World, deed: Deed): void {
  world.trace.add('PLAN', JSON.stringify(deed));
  world.truth.trouble(deed);
  (DEEDS[deed.do] as Doing<DeedName>)(world, deed as never);
}

/** Whatever is broken is mended: from now on nothing keeps the system from coming to rest. */
export function calm(world: World): void {
  world.trace.add('PLAN', 'all is mended');
  world.frontend.isUp = true;
  for (const link of world.links.values()) {
    link.failures.length = 0;
    link.watchLagMs = 0;
    link.heal();
  }
  for (const clock of world.controllerClocks.values()) clock.wallErrorMs = 0;
  for (const host of world.hosts) mend(world, host);
  for (const process of world.processes.values()) {
    process.spare();
    runIfUp(world, process.name);
  }
}

/** Nothing runs on a machine without power. */
function runIfUp(world: World, who: string): void {
  if (world.hosts.every(({ name, isUp }) => name !== who || isUp)) world.process(who).run();
}

function mend(world: World, host: SimHost): void {
  if (host.isLost) {
    // Whoever knows that a machine is gone for good says so by deleting its object.
    world.server.delete(USER, host.kind, { name: host.name });
    return;
  }
  host.wallErrorMs = 0;
  if (host.hasLeakedSlots) host.powerOff();
  host.boot();
  host.disk.isFull = false;
  host.disk.isBroken = false;
  host.isBlind = false;
  host.startsFail = 0;
  host.bootsHang = 0;
  host.clonesTakeMs.length = 0;
  for (const vm of host.vms()) vm.isStuck = false;
  const kind = host.kind;
  if (world.server.get(kind, { name: host.name }) !== undefined) {
    world.server.patch(USER, kind, { name: host.name }, { spec: { unschedulable: null } });
  }
}

const DEEDS: { readonly [N in DeedName]: Doing<N> } = {
  create: (world, { name, wish }) => createRunner(world, name, wish),
  delete: ({ server }, { name }) => void server.delete(USER, 'Runner', { namespace: NAMESPACE, name }),
  kill: (world, { who, downMs }) => {
    const process = world.process(who);
    process.kill();
    world.timeline.after(downMs, () => runIfUp(world, who));
  },
  killAt: (world, { who, boundaries, downMs }) => world.process(who).killAt(boundaries, downMs),
  restart: (world, { who }) => world.process(who).restart(),
  cut: (world, { who, way, forMs, forgets }) => {
    const link = world.link(who);
    link.passes = way;
    world.timeline.after(forMs, () => {
      if (forgets) world.server.compact();
      link.heal();
    });
  },
  lag: (world, { who, byMs, forMs }) => {
    world.link(who).watchLagMs = byMs;
    world.timeline.after(forMs, () => {
      world.link(who).watchLagMs = 0;
    });
  },
  loseAnswers: (world, { who, times }) => {
    for (let left = times; left > 0; left -= 1) world.link(who).failures.push({ mode: 'answerLost' });
  },
  refuse: (world, { who, code, times }) => {
    for (let left = times; left > 0; left -= 1) world.link(who).failures.push({ mode: 'refused', code });
  },
  apiDown: (world, { forMs, forgets }) => {
    world.frontend.goDown();
    world.timeline.after(forMs, () => {
      if (forgets) world.server.compact();
      world.frontend.isUp = true;
    });
  },
  compact: ({ server }) => server.compact(),
  dropWatches: ({ server, frontend }, { forgets }) => {
    if (forgets) server.compact();
    frontend.dropWatches();
  },
  jumpClock: (world, { who, byMs }) => {
    const host = world.hosts.find(({ name }) => name === who);
    if (host !== undefined) host.wallErrorMs += byMs;
    else world.controllerClock(who).wallErrorMs += byMs;
  },
  reboot: (world, { host: name, downMs }) => {
    const host = world.host(name);
    host.powerOff();
    world.timeline.after(downMs, () => host.boot());
  },
  fillDisk: (world, { host, forMs }) => {
    const { disk } = world.host(host);
    disk.wasFull = true;
    during(world, forMs, disk, 'isFull');
  },
  breakDisk: (world, { host, forMs }) => during(world, forMs, world.host(host).disk, 'isBroken'),
  blind: (world, { host, forMs }) => during(world, forMs, world.host(host), 'isBlind'),
  endVm: (world, { host: name }) => {
    const host = world.host(name);
    const vm = anyVm(world, host);
    if (vm !== undefined) host.end(vm, 'ends by itself');
  },
  hangVm: (world, { host }) => {
    const vm = anyVm(world, world.host(host));
    if (vm !== undefined) vm.isHung = true;
  },
  resetGuest: (world, { host: name }) => {
    const host = world.host(name);
    // That a script has begun which its daemon never heard of and its guest forgets, nobody could know.
    const hasBegun = (vm: SimVm): boolean => host.disk.metadata(vm.identity)?.scriptStartedAt !== undefined;
    const vm = host.vms().find((one) => one.answers && hasBegun(one));
    if (vm !== undefined) host.reset(vm);
  },
  stickVm: (world, { host, forMs }) => {
    const vm = anyVm(world, world.host(host));
    if (vm !== undefined) during(world, forMs, vm, 'isStuck');
  },
  failClones: (world, { host, times }) => {
    world.host(host).startsFail += times;
  },
  leakSlots: (world, { host }) => {
    world.host(host).hasLeakedSlots = true;
  },
  slowClones: (world, { host, times, byMs }) => {
    for (let left = times; left > 0; left -= 1) world.host(host).clonesTakeMs.push(byMs);
  },
  hangBoots: (world, { host, times }) => {
    world.host(host).bootsHang += times;
  },
  removeBundle: (world, { host: name }) => {
    const host = world.host(name);
    const [bundle] = host.disk.bundles.keys();
    if (bundle === undefined) return;
    host.disk.bundles.delete(bundle);
    for (const vm of host.vms()) {
      vm.isOrphan ||= bundle === `${vm.identity.uid}.${vm.identity.attempt}.bundle`;
    }
  },
  deleteLease: ({ server }, { host }) =>
    void server.delete(USER, 'Lease', { namespace: SYSTEM_NAMESPACE, name: host }),
  cordon: (world, { host: name, forMs }) => {
    setCordoned(world, name, true);
    world.timeline.after(forMs, () => setCordoned(world, name, null));
  },
  withdrawTemplate: (world, { host: name, forMs }) => {
    const host = world.host(name);
    const templates = [...host.templates];
    host.templates.clear();
    host.templatesChanged();
    world.timeline.after(forMs, () => {
      for (const [each, bundle] of templates) host.templates.set(each, bundle);
      host.templatesChanged();
    });
  },
  deleteTemplate: ({ server, timeline }, { forMs }) => {
    server.delete(USER, 'Template', { name: 'linux' });
    timeline.after(forMs, () => {
      if (server.get('Template', { name: 'linux' }) === undefined) declareTemplate(server, 'linux');
    });
  },
  loseHost: (world, { host: name }) => {
    const host = world.host(name);
    host.isLost = true;
    host.powerOff();
    host.disk.bundles.clear();
  },
  deleteHost: (world, { host: name }) => {
    const { kind } = world.host(name);
    world.server.delete(USER, kind, { name });
  },
};

function during<K extends string>(world: World, ms: number, of: { [key in K]: boolean }, flag: K): void {
  of[flag] = true as (typeof of)[K];
  world.timeline.after(ms, () => {
    of[flag] = false as (typeof of)[K];
  });
}

function setCordoned(world: World, name: string, unschedulable: true | null): void {
  const { server } = world;
  const { kind } = world.host(name);
  if (server.get(kind, { name }) !== undefined)
    server.patch(USER, kind, { name }, { spec: { unschedulable } });
}

function anyVm(world: World, host: SimHost): SimVm | undefined {
  const vms = host.vms();
  return vms[world.random.stream(`vm ${world.timeline.now}`).int(0, Math.max(0, vms.length - 1))];
}
