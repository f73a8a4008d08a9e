import { API_VERSION } from '../../crds/meta.ts';
import type { Template } from '../../crds/template.ts';
import { condition } from './condition.ts';
import { type Overrides, withOverrides } from './overrides.ts';

/** Bundle that {@link template} names and that the hosts of `host.ts` hold. */
export const LINUX_BUNDLE = { name: 'linux', digest: `sha256:${'1'.repeat(64)}` } as const;
/** Bundle that {@link macTemplate} names. */
export const MAC_BUNDLE = { name: 'macos', digest: `sha256:${'2'.repeat(64)}` } as const;

/** The Template `linux`: amd64, with a guest agent, held by one host. */
export const template = (overrides?: Overrides<Template>): Template =>
  withOverrides<Template>(
    {
      apiVersion: API_VERSION,
      kind: 'Template',
      metadata: { name: 'linux' },
      spec: {
        os: 'linux',
        arch: 'amd64',
        ssh: { user: 'runner', port: 22 },
        guestAgent: { enabled: true, port: 8080 },
        source: { bundle: { ...LINUX_BUNDLE } },
      },
      status: { observedGeneration: 1, hosts: 1, conditions: [condition('Ready')] },
    },
    overrides,
  );

/** The Template `macos`: arm64. */
export const macTemplate = (overrides?: Overrides<Template>): Template =>
  withOverrides(
    template({
      metadata: { name: 'macos' },
      spec: { os: 'macOS', arch: 'arm64', source: { bundle: { ...MAC_BUNDLE } } },
    }),
    overrides,
  );
