import { HOST_KINDS, type Host } from '../../crds/host.ts';
import type { Template } from '../../crds/template.ts';
import type { Clock } from '../../kube/clock.ts';
import type { Logger } from '../../kube/log.ts';
import { jsonEqual } from '../../kube/merge-patch.ts';
import type { Stored } from '../../kube/object.ts';
import { type QueueResult, WorkQueue } from '../../kube/queue.ts';
import type { Resources } from '../../kube/resources.ts';
import { writeStatus } from '../../kube/status.ts';
import { allHosts, type Informers } from '../informers.ts';
import { logFailedWrite } from '../problems.ts';
import { decideTemplate } from './decide.ts';

export interface TemplateControllerOptions {
  readonly informers: Informers;
  readonly templates: Resources<Template>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Hosts that report at about the same time, as after a roll-out, cost one write. */
const DEBOUNCE_MS = 500;

/** Keeps in each Template's status how many hosts hold it. */
export class TemplateController {
  readonly #options: TemplateControllerOptions;
  readonly #queue: WorkQueue;
  readonly #unsubscribe: (() => void)[] = [];

  constructor(options: TemplateControllerOptions) {
    this.#options = options;
    const { clock, log } = options;
    this.#queue = new WorkQueue({
      clock,
      concurrency: 2,
      handle: async (name) => await this.#reconcile(name),
      onError: (template, error, failures, retryInMs) =>
        logFailedWrite(log, error, { template, failures, retryInMs }, "cannot write a Template's status now"),
    });
  }

  /** Begins. All informers must have synced. */
  start(): void {
    const { informers } = this.#options;
    const changed = (template: Stored<Template>) => this.#queue.add(template.metadata.name);
    this.#unsubscribe.push(
      informers.templates.on({ added: changed, updated: (_, template) => changed(template) }),
      ...HOST_KINDS.map((kind) =>
        informers.hosts[kind].on({
          added: (host) => this.#bundlesChanged(undefined, host),
          updated: (old, host) => this.#bundlesChanged(old, host),
          deleted: (host) => this.#bundlesChanged(host, undefined),
        }),
      ),
    );
    this.#queue.start();
  }

  async stop(): Promise<void> {
    for (const unsubscribe of this.#unsubscribe) unsubscribe();
    await this.#queue.shutdown();
  }

  async #reconcile(name: string): Promise<QueueResult> {
    const { informers, clock, templates } = this.#options;
    const template = informers.templates.store.get({ name });
    if (template === undefined) return undefined;
    const status = decideTemplate(template, allHosts(informers), clock.now());
    const { object } = await writeStatus(templates, template, status);
    informers.templates.learn(object);
    return undefined;
  }

  #bundlesChanged(old: Host | undefined, host: Host | undefined): void {
    const before = old?.status?.templates ?? [];
    const after = host?.status?.templates ?? [];
    if (jsonEqual(before, after)) return;
    for (const { name } of [...before, ...after]) {
      for (const template of this.#options.informers.templates.store.by('bundle', name)) {
        this.#queue.addAfter(template.metadata.name, DEBOUNCE_MS);
      }
    }
  }
}
