import type { z } from 'zod';
import { HOST_RULES, HostSpec, HostStatus } from './host.ts';
import { LINUX_HOSTS, MAC_HOSTS, type Resource, RUNNER_CLASSES, RUNNERS, TEMPLATES } from './resources.ts';
import { RunnerSpec, RunnerStatus } from './runner.ts';
import { DEFAULT_CLASS_ANNOTATION, RunnerClassSpec } from './runner-class.ts';
import { RUNNER_RULES } from './runner-rules.ts';
import { TemplateSpec, TemplateStatus } from './template.ts';
import type { CelRule } from './validation.ts';

/** A column of `kubectl get`. Priority 0 always shows, 1 with `-o wide` only. */
export interface PrinterColumn {
  readonly name: string;
  readonly type: 'string' | 'integer' | 'boolean' | 'date';
  readonly jsonPath: string;
  readonly description: string;
  readonly priority?: 1;
}

/** All that a CustomResourceDefinition says about one kind. */
export interface KindDefinition {
  readonly resource: Resource<{ kind: string }>;
  readonly singular: string;
  readonly shortNames: readonly string[];
  /** What `kubectl explain` says of the kind. */
  readonly description: string;
  readonly spec: z.ZodType;
  /** What the API server fills in where an object comes without a spec. */
  readonly specDefault?: Readonly<Record<string, unknown>>;
  /** Absent: the kind has no status and no status subresource. */
  readonly status?: z.ZodType;
  /** Status of a new object: never such that kstatus takes it for healthy. */
  readonly statusDefault?: Readonly<Record<string, unknown>>;
  readonly columns: readonly PrinterColumn[];
  readonly selectableFields: readonly string[];
  /** Rules that need more than the spec or the status alone. */
  readonly rules: readonly CelRule[];
}

const AGE: PrinterColumn = {
  name: 'Age',
  type: 'date',
  jsonPath: '.metadata.creationTimestamp',
  description: 'Time since the object was created.',
};

const readyColumn = (description: string): PrinterColumn => ({
  name: 'Ready',
  type: 'string',
  jsonPath: '.status.conditions[?(@.type=="Ready")].status',
  description,
});

const readyReasonColumn: PrinterColumn = {
  name: 'Reason',
  type: 'string',
  jsonPath: '.status.conditions[?(@.type=="Ready")].reason',
  description: 'Why it is ready or not, in one word.',
  priority: 1,
};

const runner: KindDefinition = {
  resource: RUNNERS,
  singular: 'runner',
  shortNames: ['rn'],
  description: 'One ephemeral virtual machine: cloned from a Template, used for one job, then destroyed.',
  spec: RunnerSpec,
  status: RunnerStatus,
  statusDefault: { observedGeneration: -1, phase: 'Pending' },
  columns: [
    {
      name: 'Phase',
      type: 'string',
      jsonPath: '.status.phase',
      description: 'Where the Runner is in its life.',
    },
    {
      name: 'Host',
      type: 'string',
      jsonPath: '.spec.binding.hostName',
      description: 'Host that runs the VM.',
    },
    {
      name: 'Template',
      type: 'string',
      jsonPath: '.spec.templateName',
      description: 'Template that the VM is cloned from.',
    },
    { name: 'IP', type: 'string', jsonPath: '.status.ipAddress', description: "The guest's own IP address." },
    AGE,
    {
      name: 'Class',
      type: 'string',
      jsonPath: '.spec.className',
      description: 'RunnerClass that sizes the VM; empty for the default one.',
      priority: 1,
    },
    {
      name: 'Attempt',
      type: 'integer',
      jsonPath: '.spec.binding.attempt',
      description: 'Number of the present start.',
      priority: 1,
    },
    {
      name: 'SSH Host',
      type: 'string',
      jsonPath: '.status.ssh.host',
      description: "Address of the guest's SSH server, as seen from the host.",
      priority: 1,
    },
    {
      name: 'SSH Port',
      type: 'integer',
      jsonPath: '.status.ssh.port',
      description: "Port of the guest's SSH server, as seen from the host.",
      priority: 1,
    },
    {
      name: 'Exit',
      type: 'integer',
      jsonPath: '.status.setup.exitCode',
      description: 'Exit code of the setup script.',
      priority: 1,
    },
    readyReasonColumn,
    {
      name: 'Bound',
      type: 'string',
      jsonPath: '.status.conditions[?(@.type=="Bound")].message',
      description: 'Where the Runner was bound to, or why it was not.',
      priority: 1,
    },
  ],
  selectableFields: ['.spec.binding.hostName', '.status.phase'],
  rules: RUNNER_RULES,
};

const template: KindDefinition = {
  resource: TEMPLATES,
  singular: 'template',
  shortNames: ['vmt'],
  description: 'One golden virtual machine that Runners are cloned from.',
  spec: TemplateSpec,
  status: TemplateStatus,
  statusDefault: { observedGeneration: -1 },
  columns: [
    { name: 'OS', type: 'string', jsonPath: '.spec.os', description: 'Operating system of the guest.' },
    {
      name: 'Arch',
      type: 'string',
      jsonPath: '.spec.arch',
      description: 'Processor architecture of the guest.',
    },
    {
      name: 'Hosts',
      type: 'integer',
      jsonPath: '.status.hosts',
      description: 'Number of hosts that hold the template.',
    },
    AGE,
    {
      name: 'Bundle',
      type: 'string',
      jsonPath: '.spec.source.bundle.name',
      description: "Name of the bundle's directory on the hosts.",
      priority: 1,
    },
    {
      name: 'User',
      type: 'string',
      jsonPath: '.spec.ssh.user',
      description: 'User to log in as.',
      priority: 1,
    },
    { ...readyColumn('Whether at least one host holds the template.'), priority: 1 },
    readyReasonColumn,
  ],
  selectableFields: [],
  rules: [],
};

const hostColumns: readonly PrinterColumn[] = [
  readyColumn('Whether the node daemon answers and can start VMs.'),
  {
    name: 'Cordoned',
    type: 'boolean',
    jsonPath: '.spec.unschedulable',
    description: 'Whether Runners are kept from being bound to the host.',
  },
  {
    name: 'Max Runners',
    type: 'integer',
    jsonPath: '.status.allocatable.runners',
    description: 'Most Runners at once.',
  },
  {
    name: 'OS',
    type: 'string',
    jsonPath: '.status.nodeInfo.os',
    description: 'Operating system of the host.',
  },
  { name: 'Driver', type: 'string', jsonPath: '.status.nodeInfo.driver', description: 'How VMs run.' },
  {
    name: 'Accelerator',
    type: 'string',
    jsonPath: '.status.nodeInfo.accelerator',
    description: "What runs the guest's instructions.",
  },
  {
    name: 'CPU',
    type: 'integer',
    jsonPath: '.status.allocatable.cpu',
    description: 'Virtual CPUs for Runners, overcommitment included.',
  },
  {
    name: 'Memory',
    type: 'string',
    jsonPath: '.status.allocatable.memory',
    description: 'Memory for Runners.',
  },
  AGE,
  {
    name: 'Disk',
    type: 'string',
    jsonPath: '.status.allocatable.disk',
    description: 'Room for the disks of Runners.',
    priority: 1,
  },
  {
    name: 'Arch',
    type: 'string',
    jsonPath: '.status.nodeInfo.arch',
    description: 'Processor architecture of the host.',
    priority: 1,
  },
  {
    name: 'OS Version',
    type: 'string',
    jsonPath: '.status.nodeInfo.osVersion',
    description: "Version of the host's operating system.",
    priority: 1,
  },
  {
    name: 'Reflink',
    type: 'boolean',
    jsonPath: '.status.nodeInfo.reflink',
    description: "Whether the host root's filesystem clones files copy-on-write.",
    priority: 1,
  },
  {
    name: 'Daemon',
    type: 'string',
    jsonPath: '.status.nodeInfo.daemonVersion',
    description: 'Version of the node daemon.',
    priority: 1,
  },
  readyReasonColumn,
];

const host = (
  resource: KindDefinition['resource'],
  singular: string,
  description: string,
): KindDefinition => ({
  resource,
  singular,
  shortNames: [],
  description,
  spec: HostSpec,
  specDefault: {},
  status: HostStatus,
  statusDefault: { observedGeneration: -1 },
  columns: hostColumns,
  selectableFields: [],
  rules: HOST_RULES,
});

const runnerClass: KindDefinition = {
  resource: RUNNER_CLASSES,
  singular: 'runnerclass',
  shortNames: ['rnc'],
  description: `A size of virtual machine. The class annotated ${DEFAULT_CLASS_ANNOTATION}: "true" is given to Runners that name none; of two, the newest.`,
  spec: RunnerClassSpec,
  columns: [
    { name: 'CPU', type: 'integer', jsonPath: '.spec.cpu', description: 'Virtual CPUs.' },
    { name: 'Memory', type: 'string', jsonPath: '.spec.memory', description: 'Memory of the guest.' },
    { name: 'Disk', type: 'string', jsonPath: '.spec.disk', description: "Size of the guest's disk." },
    {
      name: 'Default',
      type: 'string',
      jsonPath: `.metadata.annotations.${DEFAULT_CLASS_ANNOTATION.replaceAll('.', '\\.')}`,
      description: 'Whether Runners that name no class get this one.',
    },
    AGE,
  ],
  selectableFields: [],
  rules: [],
};

/** Every kind of the group, in the order in which they are documented. */
export const KINDS: readonly KindDefinition[] = [
  runner,
  template,
  host(MAC_HOSTS, 'machost', 'One Mac that runs VMs, registered by its own node daemon.'),
  host(LINUX_HOSTS, 'linuxhost', 'One Linux machine that runs VMs, registered by its own node daemon.'),
  runnerClass,
];
