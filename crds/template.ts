import { z } from 'zod';
import { type API_VERSION, conditions, type ObjectMeta, observedGeneration } from './meta.ts';
import { Count, Digest, DnsName, Duration, Int32, SecretKeyRef, Size, UserName } from './scalars.ts';
import { celRules, immutable } from './validation.ts';

const SshLogin = z.object({
  user: UserName.default('runner').describe(
    'User to log in as, and to run the setup script as. Default: runner.',
  ),
  port: Int32.min(1)
    .max(65535)
    .default(22)
    .describe("TCP port of the guest's SSH server, from 1 to 65535. Default: 22."),
  privateKeySecretRef: SecretKeyRef.optional().describe(
    'The entry of a Secret in the system namespace (shoesvz-system) that holds the private key, in OpenSSH format, with which a template without a guest agent is entered. Default: the key in the bundle.',
  ),
});

const GuestAgent = z.object({
  enabled: z
    .boolean()
    .default(true)
    .describe(
      'Whether the guest agent is installed in the template. Without it SSH works, but the guest reports no state of its CI runner. Default: true.',
    ),
  port: Int32.min(1)
    .max(65535)
    .default(8080)
    .describe("TCP port of the agent's HTTP server in the guest, from 1 to 65535. Default: 8080."),
});

export const TemplateSpec = z
  .object({
    os: z.enum(['macOS', 'linux']).describe('Operating system of the guest: macOS or linux. Immutable.'),
    arch: z
      .enum(['arm64', 'amd64'])
      .describe("Processor architecture of the guest, which must be the host's: arm64 or amd64. Immutable."),
    ssh: SshLogin.default({ user: 'runner', port: 22 }).describe(
      'How to log in to the guest. Default: as runner, on port 22.',
    ),
    guestAgent: GuestAgent.default({ enabled: true, port: 8080 }).describe(
      "The program in the guest that takes on the VM's own identity at boot and reports its state. Default: installed, on port 8080.",
    ),
    minimum: z
      .object({
        cpu: Int32.min(1).max(1024).optional().describe('Fewest virtual CPUs, from 1 to 1024. Default: 1.'),
        memory: Size.optional().describe('Least memory, in bytes or with a unit (Mi, Gi). Default: none.'),
        disk: Size.optional().describe(
          "Smallest disk, in bytes or with a unit (Mi, Gi). Default: the size of the template's own disk.",
        ),
      })
      .optional()
      .describe(
        'What the guest needs at least; where the class gives less, the VM gets this. Default: nothing.',
      ),
    timeouts: z
      .object({
        clone: Duration.optional().describe(
          'Limit for cloning the template, as a duration such as 90s or 5m, up to 168h. Default: 2m.',
        ),
        boot: Duration.optional().describe(
          'Limit from the start of a VM to SSH-ready, as a duration such as 90s or 5m, up to 168h. Default: 5m.',
        ),
        setup: Duration.optional().describe(
          'Limit from the start of the setup script to Ready, as a duration such as 90s or 5m, up to 168h. Default: 30m, or 6h for Runners with completion: Script.',
        ),
      })
      .optional()
      .describe(
        'How long each part of a start may take, for Runners that say nothing of it themselves. Counts for VMs that are made from now on. Default: what each part says.',
      ),
    source: z
      .object({
        bundle: z
          .object({
            name: DnsName.describe(
              "Name of the bundle: of its directory under templates/ in a host's root directory.",
            ),
            digest: Digest.optional().describe(
              'Digest that the bundle must have: sha256:, then 64 hexadecimal digits. A host whose bundle has another does not hold the template. Default: any digest will do.',
            ),
          })
          .describe('A bundle that hosts already hold.'),
      })
      .describe('Where the golden VM comes from.'),
  })
  .meta({
    description:
      'What is wanted. All but os and arch may be changed; VMs that are already bound keep what they have.',
    ...celRules(immutable('os', 'Template'), immutable('arch', 'Template')),
  });
export type TemplateSpec = z.infer<typeof TemplateSpec>;

export const TemplateStatus = z
  .object({
    observedGeneration,
    hosts: Count.optional().describe('Number of hosts that hold the template.'),
    conditions: conditions('What is true of the Template. Ready: at least one host holds it.'),
  })
  .describe('What was observed. Written by the controller.');
export type TemplateStatus = z.infer<typeof TemplateStatus>;

/** One golden VM. */
export interface Template {
  apiVersion: typeof API_VERSION;
  kind: 'Template';
  metadata: ObjectMeta;
  spec: TemplateSpec;
  status?: TemplateStatus | undefined;
}
