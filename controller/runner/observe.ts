import type { Host, HostKind } from '../../crds/host.ts';
import type { Runner } from '../../crds/runner.ts';
import type { ObjectRef, Stored } from '../../kube/object.ts';
import type { Resources } from '../../kube/resources.ts';
import { isPending } from './binder.ts';
import type { RunnerFacts } from './decide.ts';
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
  return {
    runner,
    verdict: isPending(runner) ? sources.verdict(runner.metadata.uid) : undefined,
    host: await hostOf(sources, runner),
    sinceToldMs: sources.sinceTold(runner),
    ageMs: sources.age(runner),
    now: sources.now(),
  };
}

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
