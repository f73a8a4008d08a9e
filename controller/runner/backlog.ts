import type { Runner } from '../../crds/runner.ts';
import type { Stored } from '../../kube/object.ts';
import type { Resolution } from './demand.ts';
import type { Verdict } from './explain.ts';
import { type Avoided, NONE_AVOIDED } from './retry.ts';

/** Pending Runners that ask for the same and avoid the same hosts; what holds for one of them holds for all. */
export interface Group {
  readonly wish: Pick<Runner['spec'], 'templateName' | 'className' | 'hostSelector'>;
  readonly avoided: Avoided;
  /** What the names stand for; undefined when they must be looked up. */
  resolution: Resolution | undefined;
  /** Whether a host may have room: the oldest member is to be tried. */
  open: boolean;
  /** Why none is bound, when last judged; undefined before that. */
  verdict: Verdict | undefined;
  /** Monotonic time of the last verdict. */
  judgedAt: number;
  /** Hosts changed since, without making room: the verdict's counts may be old. */
  stale: boolean;
  /** When time alone may bring a host, on the monotonic clock; undefined: never. */
  retryAt: number | undefined;
}

interface Member {
  readonly uid: string;
  readonly createdAt: string;
  readonly group: GroupState;
  runner: Stored<Runner>;
}

interface GroupState extends Group {
  readonly key: string;
  /** Oldest first. */
  readonly members: Member[];
}

/**
 * Runners that wait to be bound, grouped by what they ask for. A group is judged as one, so that a freed slot
 * costs a look at each group and not at each Runner.
 */
export class Backlog {
  readonly #groups = new Map<string, GroupState>();
  readonly #members = new Map<string, Member>();

  get size(): number {
    return this.#members.size;
  }

  /** Adds the Runner, or takes over its newer state. Returns its group. */
  put(runner: Stored<Runner>, avoided: Avoided = NONE_AVOIDED): Group {
    const { uid, creationTimestamp } = runner.metadata;
    const known = this.#members.get(uid);
    if (known?.group.avoided === avoided) {
      known.runner = runner;
      return known.group;
    }
    this.remove(uid);
    const group = this.#groupOf(runner, avoided);
    const member = { uid, createdAt: creationTimestamp, group, runner };
    group.members.splice(position(group.members, member), 0, member);
    this.#members.set(uid, member);
    return group;
  }

  /** Returns whether the Runner was waiting. */
  remove(uid: string): boolean {
    const member = this.#members.get(uid);
    if (member === undefined) return false;
    this.#members.delete(uid);
    const { group } = member;
    group.members.splice(position(group.members, member), 1);
    if (group.members.length === 0) this.#groups.delete(group.key);
    return true;
  }

  groupOf(uid: string): Group | undefined {
    return this.#members.get(uid)?.group;
  }

  groups(): Iterable<Group> {
    return this.#groups.values();
  }

  /** Members of a group that {@link put} or {@link groups} gave, oldest first. */
  members(group: Group): Stored<Runner>[] {
    return (this.#groups.get(keyOf(group))?.members ?? []).map((member) => member.runner);
  }

  /** Of all open groups, the one with the oldest Runner, and that Runner. */
  oldest(): { readonly group: Group; readonly runner: Stored<Runner> } | undefined {
    let oldest: Member | undefined;
    for (const group of this.#groups.values()) {
      const head = group.members[0];
      if (!group.open || head === undefined) continue;
      if (oldest === undefined || isOlder(head, oldest)) oldest = head;
    }
    return oldest;
  }

  #groupOf(runner: Stored<Runner>, avoided: Avoided): GroupState {
    const { templateName, className, hostSelector } = runner.spec;
    const wish = { templateName, className, hostSelector };
    const key = keyOf({ wish, avoided });
    const known = this.#groups.get(key);
    if (known !== undefined) return known;
    const group: GroupState = {
      key,
      wish,
      avoided,
      members: [],
      resolution: undefined,
      open: true,
      verdict: undefined,
      judgedAt: Number.NEGATIVE_INFINITY,
      stale: false,
      retryAt: undefined,
    };
    this.#groups.set(key, group);
    return group;
  }
}

function keyOf({ wish, avoided }: Pick<Group, 'wish' | 'avoided'>): string {
  const { templateName, className, hostSelector } = wish;
  return JSON.stringify([
    templateName,
    className ?? null,
    ordered(Object.entries(hostSelector ?? {})),
    ordered(avoided),
  ]);
}

const ordered = <T>(entries: Iterable<readonly [string, T]>): (readonly [string, T])[] =>
  [...entries].sort(([a], [b]) => (a < b ? -1 : 1));

type Aged = Pick<Member, 'uid' | 'createdAt'>;

/** By creation, which the API server tells in whole seconds, then by UID. */
const isOlder = (a: Aged, b: Aged): boolean =>
  a.createdAt === b.createdAt ? a.uid < b.uid : a.createdAt < b.createdAt;

/** Index of the first member that is not older. */
function position(members: readonly Member[], member: Aged): number {
  let [low, high] = [0, members.length];
  while (low < high) {
    const middle = (low + high) >>> 1;
    const candidate = members[middle];
    if (candidate !== undefined && isOlder(candidate, member)) low = middle + 1;
    else high = middle;
  }
  return low;
}
