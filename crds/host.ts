import { z } from 'zod';
import { type API_VERSION, conditions, type ObjectMeta, observedGeneration } from './meta.ts';
import { Count, Digest, DnsName, HOST_OBJECT_NAME_MAX, Int32, Quantity, Reserve } from './scalars.ts';
import type { CelRule } from './validation.ts';

export const HostSpec = z
  .object({
    unschedulable: z
      .boolean()
      .optional()
      .describe(
        'Cordons the host: no Runner is bound to it any more, those that are there stay. Default: false.',
      ),
    maxRunners: Int32.min(0)
      .max(1000)
      .optional()
      .describe(
        "Most Runners at once, from 0 to 1000. Default: 2 on a Mac (Apple's limit for macOS guests), limited by resources only on Linux.",
      ),
    cpuOvercommit: Int32.min(1)
      .max(64)
      .optional()
      .describe('Virtual CPUs per CPU of the host, from 1 to 64. Default: 1 on a Mac, 4 on Linux.'),
    reserved: z
      .object({
        cpu: Int32.min(0)
          .max(1024)
          .optional()
          .describe(
            'CPUs of the host, from 0 to 1024, taken away before they are overcommitted. Default: 0.',
          ),
        memory: Reserve.optional().describe(
          'Memory, in bytes or with a unit (Mi, Gi). Default: 5 % but at least 1Gi on Linux, 10 % but at least 3Gi on a Mac, never over a quarter.',
        ),
        disk: Reserve.optional().describe(
          "Room on the host root's volume, in bytes or with a unit (Mi, Gi). Default: 10 %, at most 20Gi.",
        ),
      })
      .optional()
      .describe(
        'What Runners are not given, because the host needs it itself. A part that is set replaces the default of that part; 0 keeps nothing. Default: what each part says.',
      ),
  })
  .describe('What is wanted of the host. Freely changeable.');
export type HostSpec = z.infer<typeof HostSpec>;

const HostResources = z.object({
  cpu: Count.describe('Number of CPUs: of the machine in capacity, virtual ones in allocatable.'),
  memory: Quantity.describe('Memory, in bytes or with a unit (Mi, Gi).'),
  disk: Quantity.describe(
    "Size of the host root's volume, in allocatable less a reserve; not what is free of it. In bytes or with a unit (Mi, Gi).",
  ),
  runners: Count.describe('Runners at once.'),
});
export type HostResources = z.infer<typeof HostResources>;

export const HostTemplate = z.object({
  name: DnsName.describe('Name of the bundle.'),
  digest: Digest.describe('Digest of the bundle: sha256:, then 64 hexadecimal digits.'),
  os: z.enum(['macOS', 'linux']).describe('Operating system of the guest: macOS or linux.'),
  arch: z.enum(['arm64', 'amd64']).describe('Processor architecture of the guest: arm64 or amd64.'),
});
export type HostTemplate = z.infer<typeof HostTemplate>;

const NodeInfo = z.object({
  os: z.enum(['macOS', 'linux']).describe('Operating system of the host: macOS or linux.'),
  osVersion: z.string().max(128).describe('Version of that operating system.'),
  arch: z.enum(['arm64', 'amd64']).describe('Processor architecture of the host: arm64 or amd64.'),
  driver: z
    .enum(['vz', 'qemu', 'fake'])
    .describe('How VMs run: vz (Virtualization.framework), qemu, or fake (tests only).'),
  driverVersion: z.string().max(128).describe('Version of the hypervisor.'),
  accelerator: z
    .string()
    .max(32)
    .describe("What runs the guest's instructions: hvf, kvm or tcg; found by booting a guest."),
  reflink: z
    .boolean()
    .describe(
      "Whether the host root's filesystem clones files copy-on-write, so that a clone costs no time.",
    ),
  daemonVersion: z.string().max(64).describe('Version of the node daemon.'),
  machineID: z.string().max(64).describe("Identity of the machine that holds the host's Lease."),
  hostRoot: z.string().max(103).describe('Directory of templates and bundles on the host.'),
});

export const HostStatus = z
  .object({
    observedGeneration,
    capacity: HostResources.optional().describe('What the machine has.'),
    allocatable: HostResources.optional().describe(
      'What Runners may take of it in all: less what the host needs itself, CPU overcommitment included.',
    ),
    nodeInfo: NodeInfo.optional().describe('What the host is and how it runs VMs.'),
    templates: z
      .array(HostTemplate.describe('One bundle.'))
      .max(256)
      .optional()
      .meta({
        description: 'Template bundles that the host holds, at most 256.',
        'x-kubernetes-list-type': 'map',
        'x-kubernetes-list-map-keys': ['name'],
      }),
    conditions: conditions(
      'What is true of the host. Ready: its node daemon answers and can start VMs. TemplatesHealthy: none of its bundles is broken. NeedsReboot: its hypervisor counts VMs that are gone, and starts no other before the machine is rebooted; there only while that is so.',
    ),
  })
  .describe("What was observed. Written by the host's own node daemon, by the controller when that is lost.");
export type HostStatus = z.infer<typeof HostStatus>;

/** Rules over the whole object. */
export const HOST_RULES: readonly CelRule[] = [
  {
    rule: `self.metadata.name.size() <= ${HOST_OBJECT_NAME_MAX}`,
    message: `must be at most ${HOST_OBJECT_NAME_MAX} characters long, because finalizers of Runners carry it`,
    fieldPath: '.metadata.name',
  },
];

/** Host kinds: one schema, two names. */
export const HOST_KINDS = ['MacHost', 'LinuxHost'] as const;
export type HostKind = (typeof HOST_KINDS)[number];

/** Apple's licence and Virtualization.framework allow no more macOS guests at once on one Mac. */
export const MAX_MACOS_GUESTS = 2;

/** Stands on a host object until its daemon has destroyed all VMs of it, or is known to be dead. */
export const HOST_FINALIZER = 'host.shoesvz.dev/daemon';

/** One machine that runs VMs. */
export interface Host {
  apiVersion: typeof API_VERSION;
  kind: HostKind;
  metadata: ObjectMeta;
  spec: HostSpec;
  status?: HostStatus | undefined;
}
