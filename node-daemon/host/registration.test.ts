import fc from 'fast-check';
import { expect, test } from 'vitest';
import { HOST_FINALIZER, type Host } from '../../crds/host.ts';
import type { ObjectMeta, Stored } from '../../kube/object.ts';
import { linuxHost } from '../../test/builders/host.ts';
import { stored } from '../../test/builders/stored.ts';
import { decideRegistration, hostState, type RegistrationFacts } from './registration.ts';

const ME = 'machine-a';
const deletionTimestamp = '2026-01-01T00:00:00Z';

function host(metadata: Partial<ObjectMeta>, machineID: string | null = ME): Stored<Host> {
  const { nodeInfo, ...status } = linuxHost().status ?? { observedGeneration: -1 };
  const base = linuxHost({ metadata: { name: 'h' } });
  return stored(
    {
      ...base,
      status:
        machineID === null || nodeInfo === undefined
          ? status
          : { ...status, nodeInfo: { ...nodeInfo, machineID } },
    },
    { uid: 'u1', finalizers: [HOST_FINALIZER], ...metadata },
  );
}

const live = host({});
const dying = host({ deletionTimestamp });
const facts = (rest: Partial<RegistrationFacts>): RegistrationFacts => ({
  object: undefined,
  uid: undefined,
  purged: false,
  machineId: ME,
  ...rest,
});

test.each([
  ['a new machine', facts({}), 'create'],
  ['a machine that comes back', facts({ object: live }), 'adopt'],
  ['a host that a user declared first', facts({ object: host({ finalizers: [] }, null) }), 'adopt'],
  ['a host that is dying as the daemon starts', facts({ object: dying }), 'adopt'],
  ['the host of another machine', facts({ object: host({}, 'machine-b') }), 'refuse'],
  ['another machine took the object over', facts({ object: host({}, 'machine-b'), uid: 'u1' }), 'refuse'],
  [
    'another machine took the object over, which is dying',
    facts({ object: host({ deletionTimestamp }, 'machine-b'), uid: 'u1', purged: true }),
    'refuse',
  ],
  ['registered', facts({ object: live, uid: 'u1' }), 'none'],
  ['registered, finalizer lost', facts({ object: host({ finalizers: [] }), uid: 'u1' }), 'addFinalizer'],
  [
    'registered, finalizer of others only',
    facts({ object: host({ finalizers: ['a/b'] }), uid: 'u1' }),
    'addFinalizer',
  ],
  ['deleted, VMs still there', facts({ object: dying, uid: 'u1' }), 'none'],
  ['deleted and purged', facts({ object: dying, uid: 'u1', purged: true }), 'removeFinalizer'],
  [
    'deleted and purged, held by the finalizer of another',
    facts({ object: host({ deletionTimestamp, finalizers: ['a/b'] }), uid: 'u1', purged: true }),
    'none',
  ],
  ['gone, VMs still there', facts({ uid: 'u1' }), 'none'],
  ['gone and purged', facts({ uid: 'u1', purged: true }), 'create'],
  ['re-created, VMs of the old one still there', facts({ object: live, uid: 'u0' }), 'none'],
  ['re-created and purged', facts({ object: live, uid: 'u0', purged: true }), 'adopt'],
  [
    're-created by another machine',
    facts({ object: host({}, 'machine-b'), uid: 'u0', purged: true }),
    'refuse',
  ],
])('%s', (_, given, step) => {
  expect(decideRegistration(given).step).toBe(step);
});

test.each([
  [live, 'u1', 'live'],
  [dying, 'u1', 'deleting'],
  [live, 'u0', 'vanished'],
  [undefined, 'u0', 'vanished'],
  [undefined, undefined, 'vanished'],
])('the state of a host', (object, uid, state) => {
  expect(hostState({ object, uid })).toBe(state);
});

/** The API server and this machine, as far as registration goes. */
interface World {
  object: Stored<Host> | undefined;
  uid: string | undefined;
  /** UIDs whose VMs lie on this machine. */
  readonly vms: Set<string>;
  created: number;
}

const observed = (world: World): RegistrationFacts =>
  facts({
    object: world.object,
    uid: world.uid,
    purged: world.uid !== undefined && !world.vms.has(world.uid),
  });

function carryOut(world: World): boolean {
  const next = decideRegistration(observed(world));
  switch (next.step) {
    case 'create':
      world.object = host({ uid: `new-${++world.created}` });
      world.uid = world.object.metadata.uid;
      return true;
    case 'adopt':
      world.uid = next.object.metadata.uid;
      return true;
    case 'addFinalizer':
      world.object = stored(next.object, { finalizers: [HOST_FINALIZER] });
      return true;
    case 'removeFinalizer':
      world.object = undefined;
      return true;
    default:
      return false;
  }
}

/** What others do: users, GitOps, the lead's purge, VMs that are started while the host is live. */
const events = {
  delete: (world: World) => {
    const held = (world.object?.metadata.finalizers ?? []).length > 0;
    world.object =
      world.object !== undefined && held ? stored(world.object, { deletionTimestamp }) : undefined;
  },
  forceDelete: (world: World) => {
    world.object = undefined;
  },
  recreate: (world: World) => {
    world.object = host({ uid: `user-${++world.created}`, finalizers: [] }, null);
  },
  stripFinalizers: (world: World) => {
    if (world.object?.metadata.deletionTimestamp !== undefined) world.object = undefined;
    else if (world.object !== undefined) world.object = stored(world.object, { finalizers: [] });
  },
  startVm: (world: World) => {
    if (world.uid !== undefined && hostState(world) === 'live') world.vms.add(world.uid);
  },
  purge: (world: World) => {
    if (hostState(world) !== 'live') world.vms.clear();
  },
} satisfies Record<string, (world: World) => void>;

const anyEvent = fc.constantFrom(...(Object.keys(events) as (keyof typeof events)[]));

test('whatever happens, no VM outlives the identity it was made for, and the host ends up registered', () => {
  fc.assert(
    fc.property(
      fc.array(fc.oneof(anyEvent, fc.constant('step' as const)), { maxLength: 40 }),
      (happenings) => {
        const world: World = { object: undefined, uid: undefined, vms: new Set(), created: 0 };
        const step = () => {
          const before = world.uid;
          const finalized = world.object?.metadata.finalizers?.includes(HOST_FINALIZER);
          const moved = carryOut(world);
          if (world.uid !== before && before !== undefined) expect(world.vms.has(before)).toBe(false);
          if (finalized && world.object === undefined) expect(world.vms.size).toBe(0);
          return moved;
        };
        for (const happening of happenings) {
          if (happening === 'step') step();
          else events[happening](world);
        }
        events.purge(world);
        let steps = 0;
        while (step()) expect(++steps).toBeLessThan(6);
        expect(hostState(world)).toBe('live');
        expect(decideRegistration(observed(world))).toEqual({ step: 'none' });
      },
    ),
  );
});
