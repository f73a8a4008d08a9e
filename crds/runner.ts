import { z } from 'zod';
import { type API_VERSION, conditions, type ObjectMeta, observedGeneration } from './meta.ts';
import { BINDING_RULES, SPEC_RULES, STATUS_RULES } from './runner-rules.ts';
import {
  Count,
  Digest,
  DnsName,
  Duration,
  HostName,
  HostObjectName,
  Int32,
  LabelSelector,
  SecretKeyRef,
  Size,
  Timestamp,
} from './scalars.ts';
import { celRules } from './validation.ts';

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

const SetupScript = z
  .object({
    inline: z
      .string()
      .min(1)
      .max(131072)
      .optional()
      .describe(
        'The script itself, at most 128 KiB, beginning with its "#!" line. Whoever may read the Runner can read it: not for secrets. Default: none; exactly one of inline and secretKeyRef is set.',
      ),
    secretKeyRef: SecretKeyRef.optional().describe(
      "The entry of a Secret in the Runner's namespace that holds the script. For scripts that carry secrets, such as a registration token. Default: none; exactly one of inline and secretKeyRef is set.",
    ),
    keepOutput: z
      .boolean()
      .optional()
      .describe(
        "Whether the end of the script's output is kept in status.setup.outputTail, where whoever may read the Runner can read it. Default: true for an inline script, false for one from a Secret.",
      ),
  })
  .refine((script) => (script.inline === undefined) !== (script.secretKeyRef === undefined))
  .meta({
    ...celRules({
      rule: 'has(self.inline) != has(self.secretKeyRef)',
      message: 'must have exactly one of inline and secretKeyRef',
    }),
    oneOf: [{ required: ['inline'] }, { required: ['secretKeyRef'] }],
  });

const Resources = z.object({
  cpu: Int32.min(1).describe('Virtual CPUs.'),
  memory: Size.describe('Memory of the guest, in bytes or with a unit (Mi, Gi).'),
  disk: Size.describe("Size of the guest's disk, in bytes or with a unit (Mi, Gi)."),
});

/** Most bindings of one Runner: a bundle's name, and with it the path of its socket, has room for three digits. */
const MOST_ATTEMPTS = 999;

/** Bound of `spec.binding.earlier`. */
export const MOST_EARLIER_BINDINGS = 16;

export const Binding = z
  .object({
    hostName: HostObjectName.describe('Name of the MacHost or LinuxHost that runs the VM.'),
    hostUID: z
      .string()
      .min(1)
      .max(64)
      .describe(
        'UID of that host object at the time of binding: a host of the same name made later is another one.',
      ),
    attempt: Int32.min(1)
      .max(MOST_ATTEMPTS)
      .describe(
        'Number of this start, counted from 1, at most 999. It grows by one with each new binding and never shrinks.',
      ),
    resources: Resources.describe(
      "What the VM is given: the class's sizes at the time of binding, raised to the template's minimum. Counted against the host until the VM is gone.",
    ),
    templateDigest: Digest.describe(
      "Digest of the template's bundle at the time of binding: sha256:, then 64 hexadecimal digits.",
    ),
    earlier: z
      .array(
        z
          .object({
            hostName: HostObjectName.describe('Name of the MacHost or LinuxHost of that attempt.'),
            attempt: Int32.min(1).describe('Number of that attempt.'),
            resources: Resources.describe('What its VM was given.'),
            templateDigest: Digest.describe("Digest of its template's bundle."),
          })
          .describe('One earlier attempt.'),
      )
      .max(MOST_EARLIER_BINDINGS)
      .optional()
      .meta({
        description:
          'Earlier attempts whose VMs had not been observed gone when this one was bound, as on a host that was lost: what each is counted for against its host as long as its finalizer stands. At most 16, the latest. Default: none.',
        'x-kubernetes-list-type': 'map',
        'x-kubernetes-list-map-keys': ['attempt'],
      }),
  })
  .meta(celRules(...BINDING_RULES));
export type Binding = z.infer<typeof Binding>;

export const RunnerSpec = z
  .object({
    templateName: DnsName.describe(
      'Name of the Template that the VM is cloned from. While there is none of that name the Runner stays Pending. Immutable.',
    ),
    className: DnsName.optional().describe(
      'Name of the RunnerClass that sizes the VM. While there is none of that name the Runner stays Pending. Default: the class annotated as default when the Runner is bound. Immutable.',
    ),
    runnerName: HostName.optional().describe(
      'Name of the CI runner and host name of the guest: at most 63 lower-case letters, digits and "-". Default: metadata.name. Immutable.',
    ),
    setupScript: SetupScript.optional().describe(
      "A script that runs once in the VM, as the template's SSH user, after it is SSH-ready. It may end in the CI runner's foreground process and so be the job itself. Default: none; the VM is ready when SSH is. Immutable.",
    ),
    completion: z
      .enum(['Job', 'Script', 'Never'])
      .default('Job')
      .describe(
        'When the Runner is over and its VM is destroyed. Job: when the CI runner in the guest has finished its job, or the setup script has failed. Script: when the setup script has exited. Never: when the Runner is deleted. Default: Job. Immutable.',
      ),
    startAttempts: Int32.min(1)
      .max(10)
      .default(3)
      .describe(
        'How many starts may fail before the Runner is over as Error, from 1 to 10. A start fails where the VM cannot be cloned, booted or logged in to; it is then destroyed and started anew, on another host where one fits. Once the setup script was permitted to run, nothing is started anew. Default: 3. Immutable.',
      ),
    hostSelector: LabelSelector.optional().describe(
      'Labels, at most 16, that a host must carry, all of them, to run the VM. Default: none; any host will do. Immutable.',
    ),
    timeouts: z
      .object({
        clone: Duration.optional().describe(
          'Limit for cloning the template, as a duration such as 90s or 5m, up to 168h. Default: that of the Template, else 2m.',
        ),
        boot: Duration.optional().describe(
          'Limit from the start of the VM to SSH-ready, as a duration such as 90s or 5m, up to 168h. Default: that of the Template, else 5m.',
        ),
        setup: Duration.optional().describe(
          'Limit from the start of the setup script to Ready, as a duration such as 90s or 5m, up to 168h; with completion: Script it limits the whole script. Default: that of the Template, else 30m, or 6h with completion: Script.',
        ),
      })
      .optional()
      .describe(
        'How long each part of the start may take before it counts as failed. Default: what each part says. Immutable.',
      ),
    activeDeadlineSeconds: Int32.min(1)
      .optional()
      .describe(
        'Limit for the whole life of the Runner, in seconds since its creation, the wait for a host included, at least 1. Past it the VM is destroyed, whatever it does, and the Runner ends as Error with the reason DeadlineExceeded. May be changed: lowered it counts at once, raised or removed it prolongs a Runner that is not over. Default: none.',
      ),
    ttlSecondsAfterFinished: Int32.min(0)
      .optional()
      .describe(
        'How long the object stays, in seconds after the Runner is over (Finished or Error), before the controller deletes it; 0 deletes it at once. May be changed. Default: none; it stays until somebody deletes it.',
      ),
    binding: Binding.optional().describe(
      'Where the VM runs. Written by the controller only: absent on creation, then never removed. Default: none, until the Runner is bound.',
    ),
  })
  .refine((spec) => spec.completion !== 'Script' || spec.setupScript !== undefined)
  .meta({
    description:
      'What is wanted. Immutable but for activeDeadlineSeconds, ttlSecondsAfterFinished and binding: to change the rest of a Runner, delete it and create another.',
    ...celRules(...SPEC_RULES),
    if: { properties: { completion: { const: 'Script' } }, required: ['completion'] },
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON Schema
    then: { required: ['setupScript'] },
  });
export type RunnerSpec = z.infer<typeof RunnerSpec>;

const SshEndpoint = z.object({
  host: z.string().max(253).describe('Address to dial, as seen from the host that runs the VM.'),
  port: Int32.min(1).max(65535).describe('TCP port to dial, as seen from the host that runs the VM.'),
  user: z.string().max(64).describe('User to log in as.'),
  hostKey: z
    .string()
    .max(1024)
    .describe("The guest's public SSH host key, in the format of an authorized_keys line. The VM's own."),
});

/** Bound of `status.attempts`. */
export const MOST_FAILED_ATTEMPTS = 20;

export const FailedAttempt = z.object({
  attempt: Int32.min(1).describe('Number of the attempt (spec.binding.attempt).'),
  hostName: HostObjectName.describe('Name of the MacHost or LinuxHost that it failed on.'),
  reason: z
    .string()
    .min(1)
    .max(64)
    .describe(
      'Why it failed, as one CamelCase word. OutOfCapacity, HostNeedsReboot and HostDeleted are not counted against spec.startAttempts.',
    ),
  message: z.string().max(1024).describe('Why it failed, as a sentence for people.'),
  finishedAt: Timestamp.describe('When its VM was observed gone, as RFC 3339 writes times.'),
});
export type FailedAttempt = z.infer<typeof FailedAttempt>;

const Timings = z.object({
  cloneMs: Count.optional().describe('Cloning the template, in milliseconds.'),
  bootToSshMs: Count.optional().describe(
    "From the return of the driver's start to the first SSH command that exited 0, in milliseconds.",
  ),
  setupMs: Count.optional().describe('From the start of the setup script to Ready, in milliseconds.'),
  totalMs: Count.optional().describe("From the Runner's creation to SSH-ready, in milliseconds."),
});

export const RunnerStatus = z
  .object({
    phase: z
      .enum(RUNNER_PHASES)
      .default('Pending')
      .describe(
        'Where the Runner is in its life, for people; programs read the conditions. Pending: waiting for a host. Creating: the template is cloned. Booting: the VM runs, SSH does not answer yet. SSHReady: SSH answers. Running: the setup script has begun. TearingDown: the VM is destroyed. Finished, Error: it is over, and the VM is gone. Default: Pending.',
      ),
    observedGeneration,
    conditions: conditions(
      'What is true of the Runner. Bound: it has a host. SSHReady: an SSH command exited 0. Ready: it can do its job. Finished: it is over. Stalled: it has failed for good.',
    ),
    attempt: Count.optional().describe('The attempt (spec.binding.attempt) that this status tells of.'),
    scriptAttempt: Int32.min(1)
      .optional()
      .describe(
        'The attempt that was permitted to run the setup script. Once set it never changes, and no other attempt is ever bound.',
      ),
    attempts: z
      .array(FailedAttempt.describe('One attempt that failed.'))
      .max(MOST_FAILED_ATTEMPTS)
      .optional()
      .meta({
        description:
          'Attempts that failed before the setup script was permitted to run, at most 20, the oldest first. Where the bound attempt is among them, nothing is left of it and the Runner waits to be bound anew.',
        'x-kubernetes-list-type': 'map',
        'x-kubernetes-list-map-keys': ['attempt'],
      }),
    ipAddress: z.string().max(64).optional().describe("The guest's own IP address, as the guest sees it."),
    ssh: SshEndpoint.optional().describe(
      "How the host that runs the VM reaches the guest's SSH server; under user-mode networking not ipAddress.",
    ),
    guest: z
      .object({
        state: z
          .enum(['NoRunner', 'Starting', 'Idle', 'Running', 'Finished'])
          .describe(
            'State of the CI runner in the guest. NoRunner: there is none (yet). Starting: its process runs. Idle: it waits for a job. Running: it has one. Finished: its process has ended.',
          ),
      })
      .optional()
      .describe('What the guest agent reports. Absent where the template has no agent.'),
    timings: Timings.optional().describe('How long each part of the start took.'),
    setup: z
      .object({
        exitCode: Int32.optional().describe('Exit code of the setup script; 0 is success.'),
        outputTail: z
          .string()
          .max(4096)
          .optional()
          .describe(
            "The end of the script's standard output and error, at most 4 KiB. Kept where spec.setupScript.keepOutput says so.",
          ),
      })
      .optional()
      .describe('What came of the setup script. Absent until it has exited.'),
    startedAt: Timestamp.optional().describe('When the VM was started, as RFC 3339 writes times.'),
    finishedAt: Timestamp.optional().describe(
      'When the VM was observed gone after the Runner was over, as RFC 3339 writes times.',
    ),
  })
  .meta({
    description:
      'What was observed. Written by the host that runs the VM, by the controller while there is none.',
    ...celRules(...STATUS_RULES),
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
