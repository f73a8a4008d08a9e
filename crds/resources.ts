import type { Host, HostKind } from './host.ts';
import { GROUP, VERSION } from './meta.ts';
import type { Runner } from './runner.ts';
import type { RunnerClass } from './runner-class.ts';
import type { Template } from './template.ts';

/** Where a kind is served. Of the shape of ResourceType in kube/, which this room does not import. */
export interface Resource<T extends { kind: string }> {
  readonly group: string;
  readonly version: string;
  readonly plural: string;
  readonly kind: T['kind'];
  readonly namespaced: boolean;
}

export const RUNNERS: Resource<Runner> = {
  group: GROUP,
  version: VERSION,
  plural: 'runners',
  kind: 'Runner',
  namespaced: true,
};

export const TEMPLATES: Resource<Template> = {
  group: GROUP,
  version: VERSION,
  plural: 'templates',
  kind: 'Template',
  namespaced: false,
};

export const MAC_HOSTS: Resource<Host> = {
  group: GROUP,
  version: VERSION,
  plural: 'machosts',
  kind: 'MacHost',
  namespaced: false,
};

export const LINUX_HOSTS: Resource<Host> = {
  group: GROUP,
  version: VERSION,
  plural: 'linuxhosts',
  kind: 'LinuxHost',
  namespaced: false,
};

export const RUNNER_CLASSES: Resource<RunnerClass> = {
  group: GROUP,
  version: VERSION,
  plural: 'runnerclasses',
  kind: 'RunnerClass',
  namespaced: false,
};

/** The resource of each host kind. */
export const HOST_RESOURCES: Readonly<Record<HostKind, Resource<Host>>> = {
  MacHost: MAC_HOSTS,
  LinuxHost: LINUX_HOSTS,
};
