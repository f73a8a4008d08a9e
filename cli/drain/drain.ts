import type { Host } from '../../crds/host.ts';
import { HOST_RESOURCES, RUNNERS } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import type { KubeClient } from '../../kube/client.ts';
import { systemClock } from '../../kube/clock.ts';
import { getCondition } from '../../kube/conditions.ts';
import { ApiError, isConflict } from '../../kube/errors.ts';
import { Informer, type InformerProblem } from '../../kube/informer.ts';
import type { Stored } from '../../kube/object.ts';
import type { Resources } from '../../kube/resources.ts';
import { CliError } from '../failure.ts';
import { printedName } from '../hosts/find.ts';
import { type Deletes, type Occupant, occupantsOf, runnerName } from './decide.ts';

export interface DrainOptions {
  readonly client: KubeClient;
  /** Cordoned. */
  readonly host: Stored<Host>;
  readonly deletes: Deletes;
  /** Resolves when whoever binds has surely heard of the cordon: a host that is empty before may not stay so. */
  readonly cordonHeard: Promise<void>;
  /** Told what is done and waited for. */
  readonly say: (line: string) => void;
  /** Told what hinders. */
  readonly warn: (line: string) => void;
}

/** How many of those that are left are named. */
const NAMED = 3;

/** Drains one host: deletes what is to be deleted, and watches until no VM is left. Each change is told once. */
export class Drain {
  readonly #options: DrainOptions;
  readonly #resources: Resources<Runner>;
  readonly #runners: Informer<Runner>;
  readonly #hosts: Informer<Host>;
  readonly #over = Promise.withResolvers<void>();
  /** What was said last of each Runner, by UID. */
  readonly #said = new Map<string, { readonly name: string; readonly line: string }>();
  /** resourceVersions at which a deletion was tried, by UID: what was refused is tried again when it has changed. */
  readonly #tried = new Map<string, string>();
  #isCordonHeard = false;
  #isAwake = false;
  #isLostSaid = false;
  #isProblemSaid = false;

  constructor(options: DrainOptions) {
    this.#options = options;
    const { client, host } = options;
    const onProblem = (problem: InformerProblem) => this.#problem(problem);
    this.#over.promise.catch(() => undefined);
    this.#resources = client.resources<Runner>(RUNNERS);
    // All of them: who is bound elsewhere by now may still be held by this host's finalizer.
    this.#runners = new Informer<Runner>({ client, type: RUNNERS, onProblem });
    this.#hosts = new Informer<Host>({
      client,
      type: HOST_RESOURCES[host.kind],
      fieldSelector: `metadata.name=${host.metadata.name}`,
      onProblem,
    });
  }

  /** Resolves when nothing is left; rejects with one line where that will not come. */
  async run(): Promise<void> {
    this.#hosts.start();
    this.#runners.start();
    await Promise.race([Promise.all([this.#hosts.synced, this.#runners.synced]), this.#over.promise]);
    const look = () => this.#wake();
    this.#hosts.on({
      added: (host) => this.#hostSeen(host),
      updated: (_, host) => this.#hostSeen(host),
      deleted: look,
    });
    this.#runners.on({ added: look, updated: look, deleted: look });
    this.#look();
    await Promise.race([this.#options.cordonHeard, this.#over.promise]);
    this.#isCordonHeard = true;
    this.#look();
    await this.#over.promise;
  }

  /** What is left, for the one line that ends a drain which did not end by itself. */
  get left(): string {
    const left = this.#occupants();
    const names = left.slice(0, NAMED).map(({ runner }) => runnerName(runner));
    const more = left.length > NAMED ? ` and ${left.length - NAMED} more` : '';
    if (!this.#runners.isSynced) return 'the Runners cannot be listed';
    return `${left.length === 1 ? 'Runner' : 'Runners'} ${names.join(', ')}${more} still there`;
  }

  async stop(): Promise<void> {
    this.#over.reject(new Error('stopped'));
    await Promise.all([this.#runners.stop(), this.#hosts.stop()]);
  }

  #occupants(): Occupant[] {
    const { host, deletes } = this.#options;
    return occupantsOf(host, this.#runners.store.list(), deletes, systemClock.now());
  }

  /** Changes that come together are looked at together. */
  #wake(): void {
    if (this.#isAwake) return;
    this.#isAwake = true;
    queueMicrotask(() => {
      this.#isAwake = false;
      this.#look();
    });
  }

  #look(): void {
    const occupants = this.#occupants();
    for (const occupant of occupants) {
      if (occupant.fate === 'delete') this.#delete(occupant);
      else this.#tell(occupant, `waiting for Runner ${runnerName(occupant.runner)}: ${occupant.says}`);
    }
    const present = new Set(occupants.map(({ runner }) => runner.metadata.uid));
    for (const [uid, { name }] of this.#said) {
      if (present.has(uid)) continue;
      this.#said.delete(uid);
      this.#options.say(`Runner ${name} is gone from ${this.#options.host.metadata.name}`);
    }
    if (occupants.length > 0) this.#tellWhetherLost();
    else if (this.#isCordonHeard) this.#over.resolve();
  }

  #delete(occupant: Occupant): void {
    const { metadata } = occupant.runner;
    const { uid, resourceVersion } = metadata;
    if (this.#tried.get(uid) === resourceVersion) return;
    this.#tried.set(uid, resourceVersion);
    this.#tell(occupant, `deleting Runner ${runnerName(occupant.runner)}: ${occupant.says}`);
    const preconditions = this.#options.deletes === 'all' ? { uid } : { uid, resourceVersion };
    this.#resources.delete(metadata, preconditions).catch((error: unknown) => {
      // It is not any more as it was judged: the event of that change is on its way.
      if (!isConflict(error)) this.#over.reject(error);
    });
  }

  #tell({ runner }: Occupant, line: string): void {
    const { uid } = runner.metadata;
    if (this.#said.get(uid)?.line === line) return;
    this.#said.set(uid, { name: runnerName(runner), line });
    this.#options.say(line);
  }

  #hostSeen(host: Stored<Host>): void {
    const { name, uid } = this.#options.host.metadata;
    if (host.metadata.uid !== uid) {
      this.#over.reject(new CliError(`${name} was deleted and made anew meanwhile: drain it again`));
    } else if (host.spec.unschedulable !== true) {
      this.#over.reject(
        new CliError(`${name} was uncordoned meanwhile: it may be given Runners at any time`),
      );
    } else {
      this.#tellWhetherLost();
    }
  }

  /** Only a host that answers lets go of its Runners; of one that does not, its deletion tells that it is gone. */
  #tellWhetherLost(): void {
    const { say, host } = this.#options;
    const { name } = host.metadata;
    const known = this.#hosts.store.get({ name });
    const isLost = getCondition(known?.status?.conditions, 'Ready')?.reason === 'LeaseStale';
    if (isLost === this.#isLostSaid || known === undefined || this.#occupants().length === 0) return;
    this.#isLostSaid = isLost;
    if (!isLost) say(`${name} answers again`);
    else {
      say(
        `${name} is lost: its node daemon has stopped renewing its Lease, and only it can tell that VMs are gone. Start it again; or, where the machine is gone for good, declare its VMs dead: kubectl delete ${printedName(host)}`,
      );
    }
  }

  #problem({ error, retryInMs }: InformerProblem): void {
    if (retryInMs === 0) return;
    if (error instanceof ApiError && [401, 403, 404].includes(error.code)) this.#over.reject(error);
    if (this.#isProblemSaid) return;
    this.#isProblemSaid = true;
    this.#options.warn(`${error.message}; it is tried until it can be followed again`);
  }
}
