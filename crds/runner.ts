import { z } from 'zod';
import { type API_VERSION, conditions, type ObjectMeta } from './meta.ts';
import { DnsName, Duration, Int32, Quantity } from './scalars.ts';

/** What a person sees of a Runner's life; programs read its conditions. */
export const RUNNER_PHASES = [
  'Pending',
  'Creating',
  'Booting',
  'SSHReady',
  'Running',
  'TearingDown',
  'Finished',
  'Error',
] as const;
export type RunnerPhase = (typeof RUNNER_PHASES)[number];

const SetupScript = z.object({
  inline: z
    .string()
    .min(1)
    .max(131072)
    .optional()
    .describe('The script itself. Everyone who may read the Runner can read it: not for secrets.'),
  secretKeyRef: z
    .object({
      name: DnsName.describe("Name of a Secret in the Runner's namespace."),
      key: z.string().min(1).max(253).describe('Key in the Secret whose value is the script.'),
    })
    .optional()
    .describe('Where the script lies when it carries secrets.'),
  keepOutput: z
    .boolean()
    .optional()
    .describe(
      "Whether the end of the script's output is kept in status. Default: true for an inline script, false for one from a Secret.",
    ),
});

export const Binding = z.object({
  hostName: DnsName.describe('The host that runs the VM.'),
  hostUID: z.string().min(1).max(64).describe('UID of the host object at the time of binding.'),
  attempt: Int32.min(1).describe('Number of this start, counted from 1.'),
  resources: z
    .object({
      cpu: Int32.min(1).describe('Virtual CPUs.'),
      memory: Quantity.describe('Memory of the guest.'),
      disk: Quantity.describe("Size of the guest's disk."),
    })
    .describe('What the class asked for when the Runner was bound; counted against the host.'),
  templateDigest: z.string().max(80).describe("Digest of the template's bundle at binding (sha256:…)."),
});
export type Binding = z.infer<typeof Binding>;

export const RunnerSpec = z.object({
  templateName: DnsName.describe('The Template that the VM is cloned from.'),
  className: DnsName.optional().describe(
    'The RunnerClass that sizes the VM. Default: the class annotated as default.',
  ),
  runnerName: z
    .string()
    .min(1)
    .max(63)
    .optional()
    .describe('Name of the CI runner and host name of the guest. Default: metadata.name.'),
  setupScript: SetupScript.optional().describe(
    "Runs once in the VM, as the template's SSH user, after it is SSH-ready.",
  ),
  completion: z
    .enum(['Job', 'Script', 'Never'])
    .default('Job')
    .describe(
      'When the Runner is over: Job = its CI job has finished, Script = the setup script has exited, Never = when it is deleted.',
    ),
  hostSelector: z
    .record(z.string().max(317), z.string().max(63))
    .optional()
    .describe('Labels that the host must carry.'),
  timeouts: z
    .object({
      clone: Duration.optional().describe('Limit for cloning the template. Default: 2m.'),
      boot: Duration.optional().describe('Limit from the start of the VM to SSH-ready. Default: 5m.'),
      setup: Duration.optional().describe(
        'Limit from the start of the setup script to Ready. Default: 30m; 6h with completion: Script.',
      ),
    })
    .optional()
    .describe('How long each part of the start may take.'),
  binding: Binding.optional().describe('Written by the controller: where the VM runs.'),
});
export type RunnerSpec = z.infer<typeof RunnerSpec>;

export const RunnerStatus = z.object({
  phase: z.enum(RUNNER_PHASES).default('Pending').describe('Where the Runner is in its life, for people.'),
  observedGeneration: Int32.default(-1).describe(
    'The generation that this status tells of; -1 before anyone looked.',
  ),
  conditions: conditions('Bound, SSHReady, Ready, Finished and Stalled.'),
  attempt: Int32.optional().describe('The attempt that this status tells of.'),
  scriptAttempt: Int32.optional().describe(
    'The attempt that was permitted to run the setup script. Once set, no other attempt ever runs it.',
  ),
  ipAddress: z.string().max(64).optional().describe("The guest's own IP address."),
  ssh: z
    .object({
      host: z.string().max(253).describe('Address to dial, as seen from the host.'),
      port: Int32.describe('Port to dial, as seen from the host.'),
      user: z.string().max(64).describe('User to log in as.'),
      hostKey: z.string().max(1024).describe("The guest's public host key."),
    })
    .optional()
    .describe("How the host reaches the guest's SSH server."),
  guest: z
    .object({
      state: z
        .enum(['NoRunner', 'Starting', 'Idle', 'Running', 'Finished'])
        .describe('State of the CI runner in the guest.'),
    })
    .optional()
    .describe('What the guest agent reports.'),
  timings: z
    .object({
      cloneMs: Int32.optional().describe('Cloning the template, in milliseconds.'),
      bootToSshMs: Int32.optional().describe(
        "From the driver's start returning to SSH-ready, in milliseconds.",
      ),
      setupMs: Int32.optional().describe('From the start of the setup script to Ready, in milliseconds.'),
      totalMs: Int32.optional().describe("From the Runner's creation to SSH-ready, in milliseconds."),
    })
    .optional()
    .describe('How long each part of the start took.'),
  setup: z
    .object({
      exitCode: Int32.optional().describe('Exit code of the setup script.'),
      outputTail: z.string().max(4096).optional().describe("The end of the script's output, at most 4 KiB."),
    })
    .optional()
    .describe('What came of the setup script.'),
  startedAt: z.string().max(40).meta({ format: 'date-time' }).optional().describe('When the VM was started.'),
  finishedAt: z.string().max(40).meta({ format: 'date-time' }).optional().describe('When the VM was gone.'),
});
export type RunnerStatus = z.infer<typeof RunnerStatus>;

/** One ephemeral VM. */
export interface Runner {
  apiVersion: typeof API_VERSION;
  kind: 'Runner';
  metadata: ObjectMeta;
  spec: RunnerSpec;
  status?: RunnerStatus | undefined;
}
