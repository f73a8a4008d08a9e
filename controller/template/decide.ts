import type { Host } from '../../crds/host.ts';
import type { Template, TemplateStatus } from '../../crds/template.ts';
import { setCondition } from '../../kube/conditions.ts';
import type { Stored } from '../../kube/object.ts';
import { isBundle } from '../runner/place.ts';

/** Whether the host holds the bundle that the template names, with the digest that it pins. */
export function holdsTemplate(host: Host, { spec }: Template): boolean {
  const { bundle } = spec.source;
  return (host.status?.templates ?? []).some(
    (held) => held.name === bundle.name && isBundle({ guest: spec, bundle }, held),
  );
}

/** Pure: the whole status that a template should have. Equal facts give an equal status. `now`: epoch ms. */
export function decideTemplate(
  template: Stored<Template>,
  hosts: Iterable<Host>,
  now: number,
): TemplateStatus {
  const before = template.status ?? { observedGeneration: -1 };
  const { name, digest } = template.spec.source.bundle;
  let count = 0;
  for (const host of hosts) if (holdsTemplate(host, template)) count += 1;
  const bundle = digest === undefined ? `bundle ${name}` : `bundle ${name} with digest ${digest}`;
  const ready =
    count > 0
      ? ({ status: 'True', reason: 'Available', message: 'hosts hold the template' } as const)
      : ({ status: 'False', reason: 'NoHost', message: `no host holds ${bundle}` } as const);
  const observedGeneration = template.metadata.generation ?? before.observedGeneration;
  const conditions = setCondition(
    before.conditions,
    { type: 'Ready', ...ready, observedGeneration },
    new Date(now).toISOString(),
  );
  return { ...before, observedGeneration, hosts: count, conditions };
}
