import { HOST_KINDS, type Host, type HostKind } from '../crds/host.ts';
import { holdsOf, SYSTEM_NAMESPACE } from '../crds/meta.ts';
import { HOST_RESOURCES, RUNNER_CLASSES, RUNNERS, TEMPLATES } from '../crds/resources.ts';
import type { Runner } from '../crds/runner.ts';
import type { RunnerClass } from '../crds/runner-class.ts';
import type { Template } from '../crds/template.ts';
import type { KubeClient } from '../kube/client.ts';
import type { Clock } from '../kube/clock.ts';
import { Informer, type InformerProblem } from '../kube/informer.ts';
import { LEASES, type Lease } from '../kube/lease.ts';
import type { Stored } from '../kube/object.ts';

/** Local copies of everything that the controller decides from. */
export interface Informers {
  /** Indexed by {@link hostsOf}. */
  readonly runners: Informer<Runner, 'host'>;
  /** Indexed by the name of the bundle that they are cloned from. */
  readonly templates: Informer<Template, 'bundle'>;
  readonly classes: Informer<RunnerClass>;
  readonly hosts: Readonly<Record<HostKind, Informer<Host>>>;
  /** Of hosts, among others: those of the system namespace. */
  readonly leases: Informer<Lease>;
}

export interface InformersOptions {
  readonly client: Pick<KubeClient, 'collection'>;
  readonly clock: Clock;
  readonly onProblem: (plural: string, problem: InformerProblem) => void;
}

/** Names of the hosts that a Runner is bound to, or that hold something of it. */
export function hostsOf({ metadata, spec: { binding } }: Runner): string[] {
  const names = new Set(holdsOf(metadata).map(({ hostName }) => hostName));
  if (binding !== undefined) names.add(binding.hostName);
  return [...names];
}

/** Not started. */
export function createInformers({ client, clock, onProblem }: InformersOptions): Informers {
  const common = (plural: string) => ({
    client,
    clock,
    onProblem: (problem: InformerProblem) => onProblem(plural, problem),
  });
  const hosts = (kind: HostKind) =>
    new Informer<Host>({ type: HOST_RESOURCES[kind], ...common(HOST_RESOURCES[kind].plural) });
  return {
    runners: new Informer<Runner, 'host'>({
      type: RUNNERS,
      indexes: { host: hostsOf },
      ...common(RUNNERS.plural),
    }),
    templates: new Informer<Template, 'bundle'>({
      type: TEMPLATES,
      indexes: { bundle: ({ spec }) => [spec.source.bundle.name] },
      ...common(TEMPLATES.plural),
    }),
    classes: new Informer<RunnerClass>({ type: RUNNER_CLASSES, ...common(RUNNER_CLASSES.plural) }),
    hosts: { MacHost: hosts('MacHost'), LinuxHost: hosts('LinuxHost') },
    leases: new Informer<Lease>({ type: LEASES, namespace: SYSTEM_NAMESPACE, ...common(LEASES.plural) }),
  };
}

export const allInformers = (informers: Informers) =>
  [
    informers.classes,
    informers.templates,
    ...Object.values(informers.hosts),
    informers.leases,
    informers.runners,
  ] satisfies Pick<Informer<Runner>, 'start' | 'stop' | 'synced' | 'isSynced' | 'problem'>[];

/** All hosts of both kinds. */
export const allHosts = (informers: Informers): Stored<Host>[] =>
  HOST_KINDS.flatMap((kind) => informers.hosts[kind].store.list());
