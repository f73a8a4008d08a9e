import { randomUUID } from 'node:crypto';
import type { Host } from '../../crds/host.ts';
import { API_VERSION, finalizerName } from '../../crds/meta.ts';
import type { Binding, Runner } from '../../crds/runner.ts';
import { type Overrides, withOverrides } from './overrides.ts';
import { uniqueName } from './stored.ts';
import { LINUX_BUNDLE } from './template.ts';

/** A Runner as a user creates it, defaults filled in: template `linux`, class `small`, no script. */
export const runner = (overrides?: Overrides<Runner>): Runner =>
  withOverrides<Runner>(
    {
      apiVersion: API_VERSION,
      kind: 'Runner',
      metadata: { name: uniqueName('runner'), namespace: 'default' },
      spec: { templateName: 'linux', className: 'small', completion: 'Job', startAttempts: 3 },
      status: { observedGeneration: -1, phase: 'Pending' },
    },
    overrides,
  );

/** A first binding to the host, with the sizes of the class `small`. */
export const binding = (host: Host, overrides?: Overrides<Binding>): Binding =>
  withOverrides<Binding>(
    {
      hostName: host.metadata.name,
      hostUID: host.metadata.uid ?? randomUUID(),
      attempt: 1,
      resources: { cpu: 2, memory: '4Gi', disk: '20Gi' },
      templateDigest: LINUX_BUNDLE.digest,
    },
    overrides,
  );

/** {@link runner}, bound to the host, with the finalizer that goes with it. Not creatable: bind by an update. */
export function boundRunner(host: Host, overrides?: Overrides<Runner>): Runner {
  const attempt = overrides?.spec?.binding?.attempt ?? 1;
  const bound: Overrides<Runner> = {
    metadata: { finalizers: [finalizerName(host.metadata.name, attempt)] },
    spec: { binding: binding(host, { attempt }) },
  };
  return withOverrides(runner(bound), overrides);
}
