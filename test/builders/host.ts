import type { Host } from '../../crds/host.ts';
import { API_VERSION } from '../../crds/meta.ts';
import { condition } from './condition.ts';
import { type Overrides, withOverrides } from './overrides.ts';
import { uniqueName } from './stored.ts';
import { LINUX_BUNDLE, MAC_BUNDLE } from './template.ts';

/** A ready Linux host: amd64, QEMU; 8 CPUs overcommitted to 32, 32 GiB, 100 GiB; holds the bundle `linux`. */
export const linuxHost = (overrides?: Overrides<Host>): Host =>
  withOverrides<Host>(
    {
      apiVersion: API_VERSION,
      kind: 'LinuxHost',
      metadata: { name: uniqueName('linux-host') },
      spec: {},
      status: {
        observedGeneration: 1,
        capacity: { cpu: 8, memory: '32Gi', disk: '100Gi', runners: 1000 },
        allocatable: { cpu: 32, memory: '30Gi', disk: '90Gi', runners: 1000 },
        nodeInfo: {
          os: 'linux',
          osVersion: 'Debian GNU/Linux 12',
          arch: 'amd64',
          driver: 'qemu',
          driverVersion: '7.2.0',
          accelerator: 'tcg',
          reflink: false,
          daemonVersion: '0.1.0',
          machineID: '4c4c4544-0000-2010-8020-80c04f202020',
          hostRoot: '/opt/myshoes/vz',
        },
        templates: [{ ...LINUX_BUNDLE, os: 'linux', arch: 'amd64' }],
        conditions: [condition('Ready')],
      },
    },
    overrides,
  );

/** A ready Mac: arm64, Virtualization.framework; 8 CPUs, 16 GiB, two Runners; holds the bundle `macos`. */
export const macHost = (overrides?: Overrides<Host>): Host =>
  withOverrides<Host>(
    {
      apiVersion: API_VERSION,
      kind: 'MacHost',
      metadata: { name: uniqueName('mac-host') },
      spec: {},
      status: {
        observedGeneration: 1,
        capacity: { cpu: 8, memory: '16Gi', disk: '250Gi', runners: 2 },
        allocatable: { cpu: 8, memory: '14Gi', disk: '225Gi', runners: 2 },
        nodeInfo: {
          os: 'macOS',
          osVersion: '26.1',
          arch: 'arm64',
          driver: 'vz',
          driverVersion: '26.1',
          accelerator: 'hvf',
          reflink: true,
          daemonVersion: '0.1.0',
          machineID: '8C1F64B2-0000-5000-8000-3E22FBC2A001',
          hostRoot: '/opt/myshoes/vz',
        },
        templates: [{ ...MAC_BUNDLE, os: 'macOS', arch: 'arm64' }],
        conditions: [condition('Ready')],
      },
    },
    overrides,
  );
