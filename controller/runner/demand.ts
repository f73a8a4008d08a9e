import type { RunnerSpec } from '../../crds/runner.ts';
import { DEFAULT_CLASS_ANNOTATION, type RunnerClass } from '../../crds/runner-class.ts';
import { quantityBytes } from '../../crds/scalars.ts';
import type { Template } from '../../crds/template.ts';
import type { Amounts, Demand } from './place.ts';

/** What the Runner's names stand for at the moment. */
export interface Catalogue {
  template(name: string): Template | undefined;
  runnerClass(name: string): RunnerClass | undefined;
  defaultClass(): RunnerClass | undefined;
}

/** What a Runner asks for, or what it names that does not exist. */
export type Resolution = ({ readonly demand: Demand } & ResolvedNames) | Unresolved;

export interface ResolvedNames {
  readonly templateName: string;
  readonly className: string;
}

export interface Unresolved {
  readonly reason: 'TemplateNotFound' | 'ClassNotFound';
  /** For people; says what would be right. */
  readonly message: string;
}

type Wish = Pick<RunnerSpec, 'templateName' | 'className' | 'hostSelector'>;

/** Looks up the template and the class that a Runner names. A class below the template's minimum is raised to it. */
export function resolve(wish: Wish, catalogue: Catalogue): Resolution {
  const template = catalogue.template(wish.templateName);
  if (template === undefined) {
    return { reason: 'TemplateNotFound', message: `Template ${wish.templateName} does not exist` };
  }
  const runnerClass =
    wish.className === undefined ? catalogue.defaultClass() : catalogue.runnerClass(wish.className);
  if (runnerClass === undefined) {
    const message =
      wish.className === undefined
        ? `no className and no default class: name a RunnerClass in spec.className, or annotate one ${DEFAULT_CLASS_ANNOTATION}: "true"`
        : `RunnerClass ${wish.className} does not exist`;
    return { reason: 'ClassNotFound', message };
  }
  return {
    templateName: template.metadata.name,
    className: runnerClass.metadata.name,
    demand: {
      guest: { os: template.spec.os, arch: template.spec.arch },
      bundle: template.spec.source.bundle,
      amounts: effectiveAmounts(runnerClass, template),
      selector: wish.hostSelector ?? {},
    },
  };
}

/** The larger of class and template minimum, part by part. */
export function effectiveAmounts(runnerClass: RunnerClass, template: Template): Amounts {
  const { minimum } = template.spec;
  return {
    cpu: Math.max(runnerClass.spec.cpu, minimum?.cpu ?? 0),
    memoryBytes: Math.max(quantityBytes(runnerClass.spec.memory), quantityBytes(minimum?.memory ?? '0')),
    diskBytes: Math.max(quantityBytes(runnerClass.spec.disk), quantityBytes(minimum?.disk ?? '0')),
  };
}

export const isDefaultClass = (runnerClass: RunnerClass): boolean =>
  runnerClass.metadata.annotations?.[DEFAULT_CLASS_ANNOTATION] === 'true';

/** The classes annotated as default: the one that counts, the newest, comes first. */
export function defaultClasses(classes: Iterable<RunnerClass>): RunnerClass[] {
  return [...classes].filter(isDefaultClass).sort((a, b) => {
    const [newerA, newerB] = [createdAt(a), createdAt(b)];
    return newerB - newerA || (a.metadata.name < b.metadata.name ? -1 : 1);
  });
}

const createdAt = (runnerClass: RunnerClass): number =>
  Date.parse(runnerClass.metadata.creationTimestamp ?? '') || 0;
