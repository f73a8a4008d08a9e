import { z } from 'zod';
import { type API_VERSION, conditions, type ObjectMeta } from './meta.ts';
import { DnsName, Int32, Quantity } from './scalars.ts';

export const HostSpec = z.object({
  unschedulable: z.boolean().optional().describe('Cordons the host: no Runner is bound to it any more.'),
  maxRunners: Int32.min(0)
    .max(1000)
    .optional()
    .describe(
      "Most Runners at once. Default: 2 on a Mac (Apple's limit for macOS guests), limited by resources only on Linux.",
    ),
  cpuOvercommit: Int32.min(1)
    .max(64)
    .optional()
    .describe('Virtual CPUs per physical one. Default: 1 on a Mac, 4 on Linux.'),
});
export type HostSpec = z.infer<typeof HostSpec>;

const HostResources = z.object({
  cpu: Int32.describe('CPUs.'),
  memory: Quantity.describe('Memory.'),
  disk: Quantity.describe('Room on the volume of the host root.'),
  runners: Int32.describe('Runners at once.'),
});
export type HostResources = z.infer<typeof HostResources>;

export const HostTemplate = z.object({
  name: DnsName.describe('Name of the bundle.'),
  digest: z.string().max(80).describe('Digest of the bundle (sha256:…).'),
  os: z.enum(['macOS', 'linux']).describe('Operating system of the guest.'),
  arch: z.enum(['arm64', 'amd64']).describe('Processor architecture of the guest.'),
});
export type HostTemplate = z.infer<typeof HostTemplate>;

export const HostStatus = z.object({
  observedGeneration: Int32.default(-1).describe(
    'The generation that this status tells of; -1 before anyone looked.',
  ),
  capacity: HostResources.optional().describe('What the machine has.'),
  allocatable: HostResources.optional().describe('What Runners may take of it, overcommitment included.'),
  nodeInfo: z
    .object({
      os: z.enum(['macOS', 'linux']).describe('Operating system of the host.'),
      osVersion: z.string().max(128).describe('Its version.'),
      arch: z.enum(['arm64', 'amd64']).describe('Its processor architecture.'),
      driver: z.enum(['vz', 'qemu', 'fake']).describe('How VMs run.'),
      driverVersion: z.string().max(128).describe('Version of the hypervisor.'),
      accelerator: z
        .string()
        .max(32)
        .describe("What runs the guest's instructions: hvf, kvm or tcg; found by booting a guest."),
      reflink: z.boolean().describe("Whether the host root's filesystem clones files copy-on-write."),
      daemonVersion: z.string().max(64).describe('Version of the node daemon.'),
      machineID: z.string().max(64).describe("The machine that holds the host's Lease."),
      hostRoot: z.string().max(103).describe('Directory of templates and bundles.'),
    })
    .optional()
    .describe('What the host is.'),
  templates: z.array(HostTemplate).max(256).optional().describe('Template bundles that the host holds.'),
  conditions: conditions('Ready: the node daemon answers and can start VMs.'),
});
export type HostStatus = z.infer<typeof HostStatus>;

/** Host kinds: one schema, two names. */
export const HOST_KINDS = ['MacHost', 'LinuxHost'] as const;
export type HostKind = (typeof HOST_KINDS)[number];

/** One machine that runs VMs. */
export interface Host {
  apiVersion: typeof API_VERSION;
  kind: HostKind;
  metadata: ObjectMeta;
  spec: HostSpec;
  status?: HostStatus | undefined;
}
