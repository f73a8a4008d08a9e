import { type HostKind, MAX_MACOS_GUESTS } from '../../crds/host.ts';

/** What a VM takes of a host. */
export interface Amounts {
  readonly cpu: number;
  readonly memoryBytes: number;
  readonly diskBytes: number;
}

export type GuestOs = 'macOS' | 'linux';
export type Arch = 'arm64' | 'amd64';
export type Driver = 'vz' | 'qemu' | 'fake';

/** What one Runner asks of a host; see demand.ts for how it is resolved. */
export interface Demand {
  readonly guest: { readonly os: GuestOs; readonly arch: Arch };
  /** The bundle that the VM is cloned from. Without a digest any bundle of that name serves. */
  readonly bundle: { readonly name: string; readonly digest?: string | undefined };
  readonly amounts: Amounts;
  /** Labels that the host must carry. */
  readonly selector: Readonly<Record<string, string>>;
}

/** A template bundle as a host holds it. */
export interface Bundle {
  readonly digest: string;
  readonly os: GuestOs;
  readonly arch: Arch;
}

/** What is true of a host, whatever runs on it. */
export interface HostFacts {
  readonly kind: HostKind;
  readonly name: string;
  readonly uid: string;
  readonly labels: Readonly<Record<string, string>>;
  /** Ready=True, and its Lease is not judged stale. */
  readonly ready: boolean;
  readonly cordoned: boolean;
  /** It says that it can run no VM before its machine is rebooted. */
  readonly needsReboot?: boolean | undefined;
  readonly deleting: boolean;
  /** Absent before its node daemon reported. */
  readonly machine?: { readonly arch: Arch; readonly driver: Driver } | undefined;
  /** Bundles by name. */
  readonly bundles: ReadonlyMap<string, Bundle>;
  /** What Runners may take together, CPU overcommitment included. Absent before its node daemon reported. */
  readonly allocatable?: (Amounts & { readonly runners: number }) | undefined;
}

/** What is taken of a host, by everything that holds a slot there. */
export interface Usage extends Amounts {
  readonly runners: number;
  readonly macOSGuests: number;
}

export interface Candidate {
  readonly host: HostFacts;
  readonly used: Usage;
}

export const NO_USAGE: Usage = { cpu: 0, memoryBytes: 0, diskBytes: 0, runners: 0, macOSGuests: 0 };

/**
 * Why a host does not take a Runner: the first of these that holds, in this order, so that each host is
 * counted once. What a person can do something about comes before what passes by itself.
 */
export const MISFITS = [
  'Deleting',
  'SelectorMismatch',
  'UnfitMachine',
  'WithoutTemplate',
  'OtherBundle',
  'Cordoned',
  'NeedsReboot',
  'NotReady',
  'TooSmall',
  'Full',
  'ShortOfCpu',
  'ShortOfMemory',
  'ShortOfDisk',
  'JustFailed',
] as const;
export type Misfit = (typeof MISFITS)[number];

export type MisfitCounts = ReadonlyMap<Misfit, number>;

export type Placement = { readonly host: HostFacts } | { readonly unplaceable: MisfitCounts };

/**
 * - `spread`: the host that is least taken after the Runner is there; a crash then costs least.
 * - `pack`: the one that is most taken; whole hosts stay free for large classes.
 */
export type PlacementPolicy = 'spread' | 'pack';

/** Hosts on which starts of the Runner have failed: `rests` are not tried now, `known` only where no other serves. */
export type FailuresOn = (hostName: string) => 'none' | 'known' | 'rests';

/**
 * Chooses a host, or counts by reason why none serves; the counts sum to the number of hosts. The answer
 * does not depend on the order of `candidates`. Hosts that could run macOS guests are the last resort for
 * Linux guests under either policy.
 */
export function place(
  demand: Demand,
  candidates: Iterable<Candidate>,
  policy: PlacementPolicy,
  failuresOn: FailuresOn = () => 'none',
): Placement {
  const counts = new Map<Misfit, number>();
  let best: { host: HostFacts; score: Score } | undefined;
  for (const { host, used } of candidates) {
    const failures = failuresOn(host.name);
    const reason = misfit(demand, host, used) ?? (failures === 'rests' ? 'JustFailed' : undefined);
    if (reason !== undefined) {
      counts.set(reason, (counts.get(reason) ?? 0) + 1);
      continue;
    }
    const score: Score = [failures === 'known' ? 1 : 0, ...scoreOf(demand, host, used, policy)];
    if (best === undefined || isBetter(score, best.score)) best = { host, score };
  }
  return best === undefined ? { unplaceable: counts } : { host: best.host };
}

/** Why the host does not take the Runner; undefined where it does. */
export function misfit(demand: Demand, host: HostFacts, used: Usage): Misfit | undefined {
  if (host.deleting) return 'Deleting';
  if (!matches(demand.selector, host.labels)) return 'SelectorMismatch';
  if (host.machine !== undefined && !runsGuest(demand.guest, host.kind, host.machine)) return 'UnfitMachine';
  if (host.machine === undefined || host.allocatable === undefined) return 'NotReady';
  const bundle = host.bundles.get(demand.bundle.name);
  if (bundle === undefined) return 'WithoutTemplate';
  if (!isBundle(demand, bundle)) return 'OtherBundle';
  if (host.cordoned) return 'Cordoned';
  if (host.needsReboot) return 'NeedsReboot';
  if (!host.ready) return 'NotReady';
  return shortage(demand, host.allocatable, used);
}

/** Whether a bundle of the right name is the one that the Template means. */
export function isBundle(demand: Pick<Demand, 'guest' | 'bundle'>, bundle: Bundle): boolean {
  if (bundle.os !== demand.guest.os || bundle.arch !== demand.guest.arch) return false;
  return demand.bundle.digest === undefined || bundle.digest === demand.bundle.digest;
}

function matches(selector: Demand['selector'], labels: HostFacts['labels']): boolean {
  return Object.entries(selector).every(
    ([key, value]) => Object.hasOwn(labels, key) && labels[key] === value,
  );
}

/**
 * macOS guests need Virtualization.framework on a Mac; every driver runs Linux guests of the machine's own
 * architecture. The fake driver stands for the one its host kind would have.
 */
function runsGuest(
  guest: Demand['guest'],
  kind: HostKind,
  machine: { readonly arch: Arch; readonly driver: Driver },
): boolean {
  if (guest.arch !== machine.arch) return false;
  return guest.os === 'linux' || canRunMacOS(kind, machine.driver);
}

const canRunMacOS = (kind: HostKind, driver: Driver): boolean => kind === 'MacHost' && driver !== 'qemu';

function shortage(
  demand: Demand,
  total: Amounts & { readonly runners: number },
  used: Usage,
): Misfit | undefined {
  const { amounts } = demand;
  if (
    amounts.cpu > total.cpu ||
    amounts.memoryBytes > total.memoryBytes ||
    amounts.diskBytes > total.diskBytes
  ) {
    return 'TooSmall';
  }
  if (used.runners >= total.runners) return 'Full';
  if (demand.guest.os === 'macOS' && used.macOSGuests >= MAX_MACOS_GUESTS) return 'Full';
  if (used.cpu + amounts.cpu > total.cpu) return 'ShortOfCpu';
  if (used.memoryBytes + amounts.memoryBytes > total.memoryBytes) return 'ShortOfMemory';
  if (used.diskBytes + amounts.diskBytes > total.diskBytes) return 'ShortOfDisk';
  return undefined;
}

/** Compared member by member; smaller is better. */
type HostScore = readonly [reserved: number, taken: number, runners: number, name: string, kind: HostKind];
type Score = readonly [failed: number, ...HostScore];

function scoreOf(demand: Demand, host: HostFacts, used: Usage, policy: PlacementPolicy): HostScore {
  const sign = policy === 'spread' ? 1 : -1;
  const keptForMacOS =
    demand.guest.os === 'linux' && host.machine !== undefined && canRunMacOS(host.kind, host.machine.driver);
  return [
    keptForMacOS ? 1 : 0,
    sign * takenAfter(demand.amounts, host, used),
    sign * used.runners,
    host.name,
    host.kind,
  ];
}

/** The share of the host's scarcest part that is taken once the Runner is there. */
function takenAfter(amounts: Amounts, host: HostFacts, used: Usage): number {
  const total = host.allocatable;
  if (total === undefined) return 1;
  return Math.max(
    share(used.runners + 1, total.runners),
    share(used.cpu + amounts.cpu, total.cpu),
    share(used.memoryBytes + amounts.memoryBytes, total.memoryBytes),
    share(used.diskBytes + amounts.diskBytes, total.diskBytes),
  );
}

const share = (part: number, total: number): number => (total > 0 ? part / total : 1);

function isBetter(a: Score, b: Score): boolean {
  for (const [index, value] of a.entries()) {
    const other = b[index];
    if (other !== undefined && value !== other) return value < other;
  }
  return false;
}
