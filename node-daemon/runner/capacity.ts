import { MAX_MACOS_GUESTS } from '../../crds/host.ts';
import { bytesQuantity } from '../../crds/scalars.ts';
import type { RunnerResources } from '../vm/driver.ts';

/** What Runners may take of this host together. */
export interface Allocatable extends RunnerResources {
  readonly runners: number;
}

/** What one attempt takes of its host, or would. */
export interface Claim {
  readonly uid: string;
  readonly attempt: number;
  readonly resources: RunnerResources;
  /** Whether its guest is macOS; undefined where nobody knows any more, which counts as such. */
  readonly isMacOS: boolean | undefined;
}

/** An attempt of which nothing has begun here. */
export interface WaitingClaim extends Claim {
  /** When its Runner was created, as RFC 3339 writes times. */
  readonly createdAt: string;
}

const NOTHING = { runners: 0, cpu: 0, memoryBytes: 0, diskBytes: 0, macOSGuests: 0 };
type Usage = typeof NOTHING;

/**
 * Why an attempt does not fit on this host, for people; undefined where it does. What has begun stays. Of those that
 * wait, the older Runner comes first, as when they were bound; one that does not fit takes no room from others.
 */
export function shortage(
  allocatable: Allocatable,
  begun: Iterable<Claim>,
  others: Iterable<WaitingClaim>,
  own: WaitingClaim,
): string | undefined {
  let used: Usage = NOTHING;
  for (const claim of begun) used = plus(used, claim);
  const before = [...others].filter((other) => isOlder(other, own)).sort((a, b) => (isOlder(a, b) ? -1 : 1));
  for (const other of before) {
    if (shortOf(allocatable, used, other) === undefined) used = plus(used, other);
  }
  return shortOf(allocatable, used, own);
}

const isOlder = (a: WaitingClaim, b: WaitingClaim): boolean => {
  const [atA, atB] = [Date.parse(a.createdAt), Date.parse(b.createdAt)];
  return atA === atB ? a.uid < b.uid : atA < atB;
};

const plus = (used: Usage, { resources, isMacOS }: Claim): Usage => ({
  runners: used.runners + 1,
  cpu: used.cpu + resources.cpu,
  memoryBytes: used.memoryBytes + resources.memoryBytes,
  diskBytes: used.diskBytes + resources.diskBytes,
  macOSGuests: used.macOSGuests + (isMacOS === false ? 0 : 1),
});

function shortOf(total: Allocatable, used: Usage, { resources, isMacOS }: Claim): string | undefined {
  if (used.runners >= total.runners) {
    return `the host takes ${total.runners} Runners at once, and has ${used.runners}`;
  }
  if (isMacOS !== false && used.macOSGuests >= MAX_MACOS_GUESTS) {
    return `the host has ${used.macOSGuests} macOS guests: more are not allowed on one Mac`;
  }
  const parts = [
    ['CPUs', resources.cpu, total.cpu - used.cpu, String],
    ['memory', resources.memoryBytes, total.memoryBytes - used.memoryBytes, bytesQuantity],
    ['disk', resources.diskBytes, total.diskBytes - used.diskBytes, bytesQuantity],
  ] as const;
  for (const [part, wanted, left, inWords] of parts) {
    if (wanted > left)
      return `${part}: ${inWords(wanted)} are wanted, ${inWords(Math.max(0, left))} are left`;
  }
  return undefined;
}
