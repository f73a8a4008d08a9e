import { z } from 'zod';
import { type API_VERSION, conditions, type ObjectMeta } from './meta.ts';
import { DnsName, Int32, Quantity } from './scalars.ts';

export const TemplateSpec = z.object({
  os: z.enum(['macOS', 'linux']).describe('Operating system of the guest.'),
  arch: z.enum(['arm64', 'amd64']).describe('Processor architecture of the guest.'),
  ssh: z
    .object({
      user: z.string().min(1).max(64).default('runner').describe('User to log in as.'),
      port: Int32.min(1).max(65535).default(22).describe("Port of the guest's SSH server."),
      privateKeySecretRef: z
        .object({
          name: DnsName.describe('Name of a Secret in the system namespace.'),
          key: z.string().min(1).max(253).describe('Key in the Secret whose value is the private key.'),
        })
        .optional()
        .describe('Private key for templates without a guest agent. Default: the key in the bundle.'),
    })
    .default({ user: 'runner', port: 22 })
    .describe('How to log in.'),
  guestAgent: z
    .object({
      enabled: z.boolean().default(true).describe('Whether the guest agent is installed in the template.'),
      port: Int32.min(1).max(65535).default(8080).describe("Port of the agent's HTTP server in the guest."),
    })
    .default({ enabled: true, port: 8080 })
    .describe('The guest agent.'),
  minimum: z
    .object({
      cpu: Int32.min(1).optional().describe('Fewest virtual CPUs.'),
      memory: Quantity.optional().describe('Least memory.'),
      disk: Quantity.optional().describe('Smallest disk.'),
    })
    .optional()
    .describe('What the guest needs at least; a smaller class is raised to it.'),
  source: z
    .object({
      bundle: z
        .object({
          name: DnsName.describe("Name of the bundle's directory on the hosts."),
          digest: z
            .string()
            .max(80)
            .regex(/^sha256:[0-9a-f]{64}$/)
            .optional()
            .describe('Digest that the bundle must have. Default: any.'),
        })
        .describe('A bundle that hosts already hold.'),
    })
    .describe('Where the golden VM comes from.'),
});
export type TemplateSpec = z.infer<typeof TemplateSpec>;

export const TemplateStatus = z.object({
  observedGeneration: Int32.default(-1).describe(
    'The generation that this status tells of; -1 before anyone looked.',
  ),
  hosts: Int32.optional().describe('Number of hosts that hold the template.'),
  conditions: conditions('Ready: at least one host holds the template.'),
});
export type TemplateStatus = z.infer<typeof TemplateStatus>;

/** One golden VM. */
export interface Template {
  apiVersion: typeof API_VERSION;
  kind: 'Template';
  metadata: ObjectMeta;
  spec: TemplateSpec;
  status?: TemplateStatus | undefined;
}
