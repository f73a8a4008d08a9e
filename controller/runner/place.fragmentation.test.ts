import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  type Amounts,
  type Candidate,
  type Demand,
  type HostFacts,
  NO_USAGE,
  type PlacementPolicy,
  place,
  type Usage,
} from './place.ts';

const GiB = 2 ** 30;

const SMALL: Amounts = { cpu: 1, memoryBytes: 2 * GiB, diskBytes: 10 * GiB };
const MEDIUM: Amounts = { cpu: 2, memoryBytes: 4 * GiB, diskBytes: 20 * GiB };
/** All of a host but for what one more small Runner would not leave. */
const LARGE: Amounts = { cpu: 8, memoryBytes: 16 * GiB, diskBytes: 80 * GiB };

const host = (index: number): HostFacts => ({
  kind: 'LinuxHost',
  name: `host-${String(index).padStart(2, '0')}`,
  uid: `uid-${index}`,
  labels: {},
  ready: true,
  cordoned: false,
  deleting: false,
  machine: { arch: 'amd64', driver: 'qemu' },
  bundles: new Map([['debian', { digest: 'sha256:d', os: 'linux', arch: 'amd64' }]]),
  allocatable: { ...LARGE, runners: 8 },
});

const demand = (amounts: Amounts): Demand => ({
  guest: { os: 'linux', arch: 'amd64' },
  bundle: { name: 'debian' },
  amounts,
  selector: {},
});

const plus = (used: Usage, amounts: Amounts, sign: 1 | -1): Usage => ({
  cpu: used.cpu + sign * amounts.cpu,
  memoryBytes: used.memoryBytes + sign * amounts.memoryBytes,
  diskBytes: used.diskBytes + sign * amounts.diskBytes,
  runners: used.runners + sign,
  macOSGuests: 0,
});

/** A Runner comes, or the n-th of those that run goes. */
type Step = { readonly comes: Amounts } | { readonly goes: number };

interface Load {
  readonly hosts: number;
  readonly steps: readonly Step[];
}

class Fleet {
  readonly #policy: PlacementPolicy;
  readonly #candidates: Map<string, Candidate>;
  readonly #running: { readonly host: string; readonly amounts: Amounts }[] = [];

  constructor(hosts: number, policy: PlacementPolicy) {
    this.#policy = policy;
    const all = Array.from({ length: hosts }, (_, index) => host(index));
    this.#candidates = new Map(all.map((one) => [one.name, { host: one, used: NO_USAGE }]));
  }

  take(step: Step): void {
    if ('comes' in step) {
      this.add(step.comes);
      return;
    }
    const [gone] = this.#running.splice(step.goes % Math.max(1, this.#running.length), 1);
    if (gone !== undefined) this.#change(gone.host, gone.amounts, -1);
  }

  /** Whether it found room. */
  add(amounts: Amounts): boolean {
    const placement = place(demand(amounts), this.#candidates.values(), this.#policy);
    if (!('host' in placement)) return false;
    this.#change(placement.host.name, amounts, 1);
    this.#running.push({ host: placement.host.name, amounts });
    return true;
  }

  #change(name: string, amounts: Amounts, sign: 1 | -1): void {
    const candidate = this.#candidates.get(name);
    if (candidate === undefined) throw new Error(`there is no host ${name}`);
    this.#candidates.set(name, { host: candidate.host, used: plus(candidate.used, amounts, sign) });
  }
}

/** How many Runners that need a whole host still fit after the load. */
function largeThatFit({ hosts, steps }: Load, policy: PlacementPolicy): number {
  const fleet = new Fleet(hosts, policy);
  for (const step of steps) fleet.take(step);
  let fit = 0;
  while (fleet.add(LARGE)) fit += 1;
  return fit;
}

/** Small and medium Runners that come and go; about half of the fleet is taken in the end. */
const loads: fc.Arbitrary<Load> = fc.integer({ min: 2, max: 10 }).chain((hosts) => {
  const comes = fc.record({ comes: fc.constantFrom(SMALL, MEDIUM) });
  const goes = fc.record({ goes: fc.nat() });
  const step = fc.oneof({ arbitrary: comes, weight: 2 }, { arbitrary: goes, weight: 1 });
  return fc.record({
    hosts: fc.constant(hosts),
    steps: fc.array(step, { minLength: 2 * hosts, maxLength: 8 * hosts, size: 'max' }),
  });
});

const arrivals: fc.Arbitrary<Load> = loads.map(({ hosts, steps }) => ({
  hosts,
  steps: steps.filter((step) => 'comes' in step),
}));

const average = (all: readonly Load[], policy: PlacementPolicy): number =>
  all.reduce((sum, load) => sum + largeThatFit(load, policy), 0) / all.length;

describe('whole hosts that stay free for large Runners', () => {
  test('are never fewer under pack than under spread while Runners only come', () => {
    fc.assert(
      fc.property(arrivals, (load) => {
        expect(largeThatFit(load, 'pack')).toBeGreaterThanOrEqual(largeThatFit(load, 'spread'));
      }),
    );
  });

  test('are more under pack than under spread on average, whatever comes and goes', () => {
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const sample = fc.sample(loads, { seed, numRuns: 200 });
        expect(average(sample, 'pack')).toBeGreaterThan(average(sample, 'spread'));
      }),
      { numRuns: 10 },
    );
  });
});
