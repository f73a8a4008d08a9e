import { Gauge, Histogram, Registry } from 'prom-client';
import type { Host } from '../crds/host.ts';
import { RUNNER_PHASES, type Runner } from '../crds/runner.ts';
import type { Stored } from '../kube/object.ts';
import type { BindObserver } from './runner/controller.ts';
import { hostFacts } from './runner/facts.ts';

/** What is counted when somebody asks. */
export interface MetricsSources {
  hosts(): readonly Host[];
  runners(): readonly Runner[];
  isLost(hostName: string): boolean;
  /** Runners that wait for a host. */
  waiting(): number;
  /** Whether this controller binds: of several, one does. */
  leads(): boolean;
}

/** Parts of a Runner's start, as `status.timings` names them. */
const STARTUP_PARTS = {
  clone: 'cloneMs',
  boot_to_ssh: 'bootToSshMs',
  setup: 'setupMs',
  total: 'totalMs',
} as const;
type StartupPart = keyof typeof STARTUP_PARTS;

const STARTUP_BUCKETS = [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800];
const BIND_BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 60, 300, 900, 3600];
const REQUEST_BUCKETS = [0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10];

/** States that a host is counted in; each host in one. */
export const AGENT_STATUSES = ['Ready', 'Cordoned', 'NotReady', 'Unknown'] as const;
export type AgentStatus = (typeof AGENT_STATUSES)[number];

/**
 * The controller's metrics, in a registry of their own. No label names an object: there are as many time series
 * with ten thousand Runners as with none.
 */
export class ControllerMetrics implements BindObserver {
  readonly registry = new Registry();
  readonly #startup: Histogram<'part'>;
  readonly #bind: Histogram;
  readonly #bindRequest: Histogram;
  /** Parts that were counted, by UID, of Runners that exist. */
  readonly #counted = new Map<string, Set<StartupPart>>();

  constructor(sources: MetricsSources) {
    this.#leaderGauge(sources);
    this.#hostGauges(sources);
    this.#runnerGauges(sources);
    const histogram = { registers: [this.registry] };
    this.#startup = new Histogram({
      name: 'shoesvz_runner_startup_duration',
      help: "Seconds that the parts of a Runner's start took: clone, boot_to_ssh, setup; total: creation to SSH-ready.",
      labelNames: ['part'],
      buckets: STARTUP_BUCKETS,
      ...histogram,
    });
    this.#bind = new Histogram({
      name: 'shoesvz_runner_bind_duration_seconds',
      help: 'Seconds from seeing a Runner that waits to its binding being stored, waiting for room included.',
      buckets: BIND_BUCKETS,
      ...histogram,
    });
    this.#bindRequest = new Histogram({
      name: 'shoesvz_runner_bind_request_duration_seconds',
      help: 'Seconds that writing a binding took.',
      buckets: REQUEST_BUCKETS,
      ...histogram,
    });
  }

  bound(waitedMs: number, requestMs: number): void {
    this.#bind.observe(waitedMs / 1000);
    this.#bindRequest.observe(requestMs / 1000);
  }

  /** Parts that a Runner had finished before this controller looked were counted by an earlier one. */
  startupSeenBefore({ metadata, status }: Stored<Runner>): void {
    for (const part of partsOf(status?.timings)) this.#isNew(metadata.uid, part);
  }

  /** Counts each part of each Runner once. */
  startupSeen({ metadata, status }: Stored<Runner>): void {
    for (const part of partsOf(status?.timings)) {
      const ms = status?.timings?.[STARTUP_PARTS[part]];
      if (ms !== undefined && this.#isNew(metadata.uid, part)) this.#startup.observe({ part }, ms / 1000);
    }
  }

  runnerGone({ metadata }: Stored<Runner>): void {
    this.#counted.delete(metadata.uid);
  }

  #isNew(uid: string, part: StartupPart): boolean {
    const counted = this.#counted.get(uid) ?? new Set();
    if (counted.has(part)) return false;
    this.#counted.set(uid, counted.add(part));
    return true;
  }

  #leaderGauge(sources: MetricsSources): void {
    new Gauge({
      name: 'shoesvz_leader',
      help: '1 where this controller binds Runners, 0 where it waits for another one to end. One that waits counts no hosts and no Runners.',
      registers: [this.registry],
      collect() {
        this.set(sources.leads() ? 1 : 0);
      },
    });
  }

  #hostGauges(sources: MetricsSources): void {
    const registers = [this.registry];
    const statusOf = (host: Host) => agentStatus(host, sources.isLost(host.metadata.name));
    const online = () => sources.hosts().filter((host) => isOnline(statusOf(host)));
    new Gauge({
      name: 'shoesvz_agents_online',
      help: 'Hosts whose node daemon answers and can start VMs, cordoned ones included.',
      registers,
      collect() {
        this.set(online().length);
      },
    });
    new Gauge({
      name: 'shoesvz_agents_total',
      help: 'Hosts by status.',
      labelNames: ['status'],
      registers,
      collect() {
        for (const status of AGENT_STATUSES) this.set({ status }, 0);
        for (const host of sources.hosts()) this.inc({ status: statusOf(host) });
      },
    });
    new Gauge({
      name: 'shoesvz_capacity_total_runners',
      help: 'Runners that the hosts that are online may hold together.',
      registers,
      collect() {
        const capacities = online().map((host) => hostFacts(host, 'heard').allocatable?.runners ?? 0);
        this.set(capacities.reduce((sum, runners) => sum + runners, 0));
      },
    });
  }

  #runnerGauges(sources: MetricsSources): void {
    const registers = [this.registry];
    new Gauge({
      name: 'shoesvz_runners_total',
      help: 'Runners by phase.',
      labelNames: ['phase'],
      registers,
      collect() {
        for (const phase of RUNNER_PHASES) this.set({ phase }, 0);
        for (const { status } of sources.runners()) this.inc({ phase: status?.phase ?? 'Pending' });
      },
    });
    new Gauge({
      name: 'shoesvz_runners_waiting',
      help: 'Runners that wait to be bound to a host.',
      registers,
      collect() {
        this.set(sources.waiting());
      },
    });
  }
}

const isOnline = (status: AgentStatus): boolean => status === 'Ready' || status === 'Cordoned';

function agentStatus(host: Host, lost: boolean): AgentStatus {
  const ready = host.status?.conditions?.find((condition) => condition.type === 'Ready')?.status ?? 'Unknown';
  if (lost || ready === 'Unknown') return 'Unknown';
  if (ready === 'False') return 'NotReady';
  return host.spec.unschedulable === true ? 'Cordoned' : 'Ready';
}

function partsOf(timings: NonNullable<Runner['status']>['timings']): StartupPart[] {
  const parts = Object.keys(STARTUP_PARTS) as StartupPart[];
  return parts.filter((part) => timings?.[STARTUP_PARTS[part]] !== undefined);
}
