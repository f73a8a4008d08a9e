import type { RunnerClass } from '../../crds/runner-class.ts';
import type { Stored } from '../../kube/object.ts';
import type { Events } from '../events.ts';
import type { Informers } from '../informers.ts';
import { defaultClasses, isDefaultClass } from '../runner/demand.ts';

/** Warns, once per set of them, that more than one RunnerClass is annotated as the default. */
export class DefaultClassWarning {
  readonly #informers: Informers;
  readonly #events: Events;
  #warnedOf = '';
  #unsubscribe: (() => void) | undefined;

  constructor(informers: Informers, events: Events) {
    this.#informers = informers;
    this.#events = events;
  }

  /** Begins. All informers must have synced. */
  start(): void {
    const look = () => this.#look();
    this.#unsubscribe = this.#informers.classes.on({
      updated: (old, runnerClass) => {
        if (isDefaultClass(old) !== isDefaultClass(runnerClass)) look();
      },
      added: look,
      deleted: look,
    });
  }

  stop(): void {
    this.#unsubscribe?.();
  }

  #look(): void {
    const classes = defaultClasses(this.#informers.classes.store.list());
    const warning = warningOf(classes);
    const newest = classes[0] as Stored<RunnerClass> | undefined;
    if (warning !== undefined && newest !== undefined && warning !== this.#warnedOf) {
      this.#events.warning(newest, 'SeveralDefaultClasses', warning);
    }
    this.#warnedOf = warning ?? '';
  }
}

function warningOf(classes: readonly RunnerClass[]): string | undefined {
  const [newest, ...others] = classes.map(({ metadata }) => metadata.name);
  if (newest === undefined || others.length === 0) return undefined;
  return `RunnerClasses ${[newest, ...others].join(', ')} are all annotated as the default: ${newest}, the newest, counts; remove the annotation from the others`;
}
