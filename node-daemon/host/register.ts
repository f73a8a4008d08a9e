import { HOST_FINALIZER, type Host, type HostKind, type HostSpec } from '../../crds/host.ts';
import { API_VERSION } from '../../crds/meta.ts';
import { HOST_RESOURCES } from '../../crds/resources.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { Clock } from '../../kube/clock.ts';
import { isAlreadyExists } from '../../kube/errors.ts';
import { Informer } from '../../kube/informer.ts';
import type { Logger } from '../../kube/log.ts';
import type { Stored } from '../../kube/object.ts';
import type { Resources } from '../../kube/resources.ts';
import { type HostNameTakenError, takenByObject } from './claim-name.ts';
import { decideRegistration, type HostState, hostState, type RegistrationStep } from './registration.ts';

/** Steps between two observations of anything else; a registration takes three at most. */
const MOST_STEPS = 8;

export interface RegistrarOptions {
  readonly client: Pick<KubeClient, 'resources' | 'collection'>;
  readonly kind: HostKind;
  readonly name: string;
  readonly machineId: string;
  /** What an object that this daemon creates declares. One that exists is the user's: its spec is never written. */
  readonly initial: InitialHost;
  /** Host UIDs that VMs left on this machine belong to. */
  readonly heldUids: ReadonlySet<string>;
  readonly clock: Clock;
  readonly log: Logger;
  /** Something was seen that {@link Registrar.advance} should look at. */
  changed(): void;
}

export interface InitialHost {
  readonly spec: HostSpec;
  readonly labels: Readonly<Record<string, string>>;
}

/** Keeps this machine and its host object together, as registration.ts decides. */
export class Registrar {
  readonly #options: RegistrarOptions;
  readonly #resources: Resources<Host>;
  readonly #informer: Informer<Host>;
  /** The object as it was last known for sure; undefined: known to be absent. */
  #object: Stored<Host> | undefined;
  #uid: string | undefined;
  /** A UID that a quorum read did not find. The watch may be behind and show it still; it never comes back. */
  #goneUid: string | undefined;
  #purged = false;
  #refusal: HostNameTakenError | undefined;

  constructor(options: RegistrarOptions) {
    this.#options = options;
    const type = HOST_RESOURCES[options.kind];
    this.#resources = options.client.resources(type);
    this.#informer = new Informer({
      client: options.client,
      type,
      fieldSelector: `metadata.name=${options.name}`,
      clock: options.clock,
      onProblem: ({ error, retryInMs }) =>
        options.log.warn({ err: error, retryInMs }, 'the host object cannot be watched now'),
    });
  }

  get resources(): Resources<Host> {
    return this.#resources;
  }

  /** The host object; undefined where it is known to be absent. */
  get object(): Stored<Host> | undefined {
    return this.#object;
  }

  /** UID of the host object that VMs on this machine belong to; undefined before there was one. */
  get uid(): string | undefined {
    return this.#uid;
  }

  get state(): HostState {
    return hostState({ object: this.#object, uid: this.#uid });
  }

  /** Why the host object cannot be this machine's; undefined where nothing is against it. */
  get refusal(): HostNameTakenError | undefined {
    return this.#refusal;
  }

  /** Begins to follow the object, and decides whose VMs lie on this machine. Rejects where the API is unreachable. */
  async start(): Promise<void> {
    await this.refresh();
    const present = this.#object?.metadata.uid;
    const held = [...this.#options.heldUids];
    this.#uid = held.find((uid) => uid !== present) ?? held[0];
    const changed = () => this.#options.changed();
    this.#informer.on({ added: changed, updated: changed, deleted: changed });
    this.#informer.start();
  }

  async stop(): Promise<void> {
    await this.#informer.stop();
  }

  /** Nothing that belonged to this host UID is left on this machine. */
  confirmPurged(uid: string): void {
    if (uid !== this.#uid || this.#purged) return;
    this.#purged = true;
    this.#options.changed();
  }

  /** The answer to a write of the object. */
  learn(object: Stored<Host>): void {
    this.#informer.learn(object);
    if (object.metadata.uid === this.#object?.metadata.uid) this.#object = object;
  }

  /** Reads the object by quorum. */
  async refresh(): Promise<void> {
    const object = await this.#resources.get({ name: this.#options.name });
    if (object !== undefined) this.#informer.learn(object);
    if (object?.metadata.uid !== this.#uid) this.#goneUid = this.#uid;
    this.#object = object;
  }

  /**
   * Observes, and as far as `mayWrite` goes takes the steps that registration calls for. Returns the object
   * whose status this daemon may write now; undefined where there is none.
   */
  async advance(mayWrite: boolean): Promise<Stored<Host> | undefined> {
    for (let steps = 0; steps < MOST_STEPS; steps += 1) {
      await this.#observe();
      const next = decideRegistration({
        object: this.#object,
        uid: this.#uid,
        purged: this.#purged,
        machineId: this.#options.machineId,
      });
      if (next.step === 'refuse') return this.#refuse(next.object);
      this.#refusal = undefined;
      if (next.step === 'none') return this.state === 'vanished' ? undefined : this.#object;
      if (!mayWrite) return undefined;
      await this.#take(next);
    }
    throw new Error('registration does not settle: something else changes the host object all the time');
  }

  /**
   * What the watch shows of the object that is ours is enough. That it went away, or that another has its name,
   * is believed only of a quorum read: everything on this machine is destroyed for it.
   */
  async #observe(): Promise<void> {
    const seen = this.#informer.store.get({ name: this.#options.name });
    const isOurs = seen !== undefined && seen.metadata.uid === this.#uid;
    if (isOurs && seen.metadata.uid !== this.#goneUid) this.#object = seen;
    else await this.refresh();
  }

  async #take(next: Exclude<RegistrationStep, { step: 'none' | 'refuse' }>): Promise<void> {
    switch (next.step) {
      case 'create':
        return await this.#create();
      case 'adopt':
        return this.#become(next.object, 'the host object was found');
      case 'addFinalizer':
        return await this.#finalize(next.object, (others) => [...others, HOST_FINALIZER]);
      case 'removeFinalizer':
        return await this.#finalize(next.object, (others) => others);
    }
  }

  async #create(): Promise<void> {
    const { name, kind, initial } = this.#options;
    try {
      const object = await this.#resources.create({
        apiVersion: API_VERSION,
        kind,
        metadata: { name, labels: { ...initial.labels }, finalizers: [HOST_FINALIZER] },
        spec: { ...initial.spec },
      });
      this.#informer.learn(object);
      this.#become(object, 'the host object was created');
    } catch (error) {
      // Somebody was faster, or an earlier try succeeded unheard: what is there is observed next.
      if (!isAlreadyExists(error)) throw error;
    }
  }

  #become(object: Stored<Host>, how: string): void {
    this.#object = object;
    this.#uid = object.metadata.uid;
    this.#purged = false;
    this.#options.log.info({ host: object.metadata.name, kind: object.kind, uid: this.#uid }, how);
  }

  async #finalize(object: Stored<Host>, change: (others: string[]) => string[]): Promise<void> {
    const others = (object.metadata.finalizers ?? []).filter((finalizer) => finalizer !== HOST_FINALIZER);
    const { resourceVersion } = object.metadata;
    const patch = { metadata: { finalizers: change(others) } };
    this.learn(await this.#resources.patch(object.metadata, resourceVersion, patch));
  }

  #refuse(object: Stored<Host>): undefined {
    const refusal = takenByObject(object);
    if (this.#refusal?.message !== refusal.message) {
      this.#options.log.error({ host: object.metadata.name }, refusal.message);
    }
    this.#refusal = refusal;
  }
}
