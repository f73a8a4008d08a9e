import { HOST_KINDS, type Host, type HostKind } from '../../crds/host.ts';
import { holdsOf } from '../../crds/meta.ts';
import type { Runner } from '../../crds/runner.ts';
import type { ObjectRef, Stored } from '../../kube/object.ts';
import type { Resources } from '../../kube/resources.ts';
import { isPending } from './binder.ts';
import { boundHostOf, type Holder, type RunnerFacts } from './decide.ts';
import type { Verdict } from './explain.ts';
import type { Heartbeat } from './facts.ts';

/** Where the facts about a Runner are found. */
export interface RunnerSources {
  /** The last known state, without I/O. */
  runner(ref: ObjectRef): Stored<Runner> | undefined;
  host(kind: HostKind, name: string): Stored<Host> | undefined;
  verdict(uid: string): Verdict | undefined;
  heartbeat(hostName: string): Heartbeat;
  readonly hosts: Readonly<Record<HostKind, Pick<Resources<Host>, 'get'>>>;
  /** Milliseconds since the controller last wrote the Runner's status. */
  sinceTold(runner: Stored<Runner>): number | undefined;
  /** Milliseconds since the Runner was created. */
  age(runner: Stored<Runner>): number;
  now(): number;
}

/** The facts about one Runner; undefined when it is gone. Throws where they cannot be had now. */
export async function observe(sources: RunnerSources, ref: ObjectRef): Promise<RunnerFacts | undefined> {
  const runner = sources.runner(ref);
  if (runner === undefined) return undefined;
  const host = await hostOf(sources, runner);
  const { binding } = runner.spec;
  return {
    runner,
    verdict: isPending(runner, boundHostOf(host)) ? sources.verdict(runner.metadata.uid) : undefined,
    host,
    hostKind: binding && kindOf(sources, binding.hostName),
    deadHolds: await deadHolds(sources, runner),
    lostHolders: lostHolders(sources, runner),
    sinceToldMs: sources.sinceTold(runner),
    ageMs: sources.age(runner),
    now: sources.now(),
  };
}

const kindOf = (sources: RunnerSources, name: string): HostKind | undefined =>
  HOST_KINDS.find((kind) => sources.host(kind, name) !== undefined);

const lostHolders = (sources: RunnerSources, { metadata }: Runner): Holder[] =>
  holdsOf(metadata)
    .filter(({ hostName }) => sources.heartbeat(hostName) === 'lost')
    .map(({ hostName }) => ({ hostName, hostKind: kindOf(sources, hostName) }));

/** A host that is not known as it was at binding is gone only when a quorum read of both kinds says so. */
async function hostOf(sources: RunnerSources, runner: Runner): Promise<RunnerFacts['host']> {
  const { binding } = runner.spec;
  if (binding === undefined) return 'unknown';
  const isTheOne = (host: Stored<Host> | undefined): boolean => host?.metadata.uid === binding.hostUID;
  const name = binding.hostName;
  const known =
    isTheOne(sources.host('MacHost', name)) ||
    isTheOne(sources.host('LinuxHost', name)) ||
    isTheOne(await sources.hosts.MacHost.get({ name })) ||
    isTheOne(await sources.hosts.LinuxHost.get({ name }));
  if (!known) return 'gone';
  return sources.heartbeat(name) === 'lost' ? 'stale' : 'present';
}

/**
 * Line 12 of the binding protocol: deleting a host declares its VMs dead, but as long as its Lease is not stale its
 * own node daemon destroys them. A host of that name that is not being deleted judges for itself.
 */
async function deadHolds(sources: RunnerSources, { metadata }: Runner): Promise<string[]> {
  const dead: string[] = [];
  for (const { finalizer, hostName } of holdsOf(metadata)) {
    if (sources.heartbeat(hostName) !== 'lost' || !(await isDeleted(sources, hostName))) continue;
    if (sources.heartbeat(hostName) === 'lost') dead.push(finalizer);
  }
  return dead;
}

/** By a quorum read of both kinds: a host of that name is being deleted, or there is none. */
async function isDeleted(sources: RunnerSources, name: string): Promise<boolean> {
  const isThere = (host: Stored<Host> | undefined): boolean =>
    host !== undefined && host.metadata.deletionTimestamp === undefined;
  if (HOST_KINDS.some((kind) => isThere(sources.host(kind, name)))) return false;
  for (const kind of HOST_KINDS) {
    if (isThere(await sources.hosts[kind].get({ name }))) return false;
  }
  return true;
}
