import { Counter, Gauge, Registry } from 'prom-client';
import { RUNNER_PHASES } from '../crds/runner.ts';

export interface MetricsSources {
  leaseFresh(): boolean;
  /** Phase of each Runner that is bound here. */
  phases(): readonly string[];
  templates(): { readonly sealed: number; readonly broken: number };
  queueDepth(): number;
  /** Reports of guests so far, by what became of them. */
  guestReports(): Readonly<Record<string, number>>;
}

/** The daemon's metrics, in a registry of their own. No label names an object. */
export class DaemonMetrics {
  readonly registry = new Registry();
  readonly #failures: Counter;

  constructor(sources: MetricsSources) {
    const registers = [this.registry];
    new Gauge({
      name: 'shoesvz_host_lease_fresh',
      help: '1 while this daemon may start and destroy VMs.',
      registers,
      collect() {
        this.set(sources.leaseFresh() ? 1 : 0);
      },
    });
    new Gauge({
      name: 'shoesvz_host_runners',
      help: 'Runners bound to this host, by phase.',
      labelNames: ['phase'],
      registers,
      collect() {
        const phases = sources.phases();
        for (const phase of RUNNER_PHASES) this.set({ phase }, phases.filter((one) => one === phase).length);
      },
    });
    new Gauge({
      name: 'shoesvz_host_templates',
      help: 'Template bundles on this host, by state.',
      labelNames: ['state'],
      registers,
      collect() {
        const { sealed, broken } = sources.templates();
        this.set({ state: 'sealed' }, sealed);
        this.set({ state: 'broken' }, broken);
      },
    });
    new Gauge({
      name: 'shoesvz_host_reconcile_queue_depth',
      help: 'Runners that wait to be reconciled.',
      registers,
      collect() {
        this.set(sources.queueDepth());
      },
    });
    new Counter({
      name: 'shoesvz_host_guest_reports_total',
      help: 'Reports that came in over the guest link, by what became of them.',
      labelNames: ['result'],
      registers,
      collect() {
        this.reset();
        for (const [result, count] of Object.entries(sources.guestReports())) this.inc({ result }, count);
      },
    });
    this.#failures = new Counter({
      name: 'shoesvz_host_reconcile_failures_total',
      help: 'Reconciles that failed and are tried again.',
      registers,
    });
  }

  reconcileFailed(): void {
    this.#failures.inc();
  }
}
