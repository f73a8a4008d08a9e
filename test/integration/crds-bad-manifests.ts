/** A manifest that a person got wrong, and what the refusal has to say: the field, and what would be right. */
export interface BadManifest {
  readonly mistake: string;
  readonly manifest: string;
  readonly says: readonly string[];
}

const manifestOf = (kind: string, name: string, spec: string): string =>
  [
    'apiVersion: shoesvz.dev/v1alpha1',
    `kind: ${kind}`,
    'metadata:',
    `  name: ${name}`,
    'spec:',
    ...spec
      .trim()
      .split('\n')
      .map((line) => `  ${line}`),
    '',
  ].join('\n');

const runner = (mistake: string, spec: string, ...says: string[]): BadManifest => ({
  mistake: `Runner: ${mistake}`,
  manifest: manifestOf('Runner', 'bad', spec),
  says,
});

const template = (mistake: string, spec: string, ...says: string[]): BadManifest => ({
  mistake: `Template: ${mistake}`,
  manifest: manifestOf('Template', 'bad', spec),
  says,
});

const LINUX = 'os: linux\narch: amd64\nsource: {bundle: {name: linux}}';

const runnerClass = (mistake: string, spec: string, ...says: string[]): BadManifest => ({
  mistake: `RunnerClass: ${mistake}`,
  manifest: manifestOf('RunnerClass', 'bad', spec),
  says,
});

const host = (mistake: string, spec: string, ...says: string[]): BadManifest => ({
  mistake: `MacHost: ${mistake}`,
  manifest: manifestOf('MacHost', 'bad', spec),
  says,
});

const A_NAME = 'must be a name of lower-case letters, digits, "-" and "."';
const A_HOST_NAME = 'must be a host name of at most 63 lower-case letters, digits and "-"';
const A_DURATION = 'must be a duration longer than 0s and no longer than 168h, e.g. 90s, 5m or 1h30m';
const A_SIZE =
  'must be a size from 16Mi to 1024Ti, e.g. 512Mi, 8Gi or 20G; a number without a unit counts bytes';
const A_RESERVE = 'must be 0 or a size from 16Mi to 1024Ti, e.g. 2Gi; a number without a unit counts bytes';
const A_LABEL_VALUE = 'must be the value of a label: at most 63 letters, digits, "-", "_" and "."';
const A_DIGEST = 'must be "sha256:" and 64 hexadecimal digits in lower case';

const BINDING = `
binding:
  hostName: mini-1
  hostUID: 7a1c
  attempt: 1
  resources: {cpu: 2, memory: 4Gi, disk: 20Gi}
  templateDigest: sha256:${'0'.repeat(64)}`;

export const BAD_MANIFESTS: readonly BadManifest[] = [
  {
    mistake: 'YAML that does not parse',
    manifest: 'apiVersion: shoesvz.dev/v1alpha1\nkind: Runner\nmetadata: {name: bad\n',
    says: ['error parsing STDIN', 'yaml: line'],
  },
  {
    mistake: 'no kind',
    manifest: 'apiVersion: shoesvz.dev/v1alpha1\nmetadata: {name: bad}\n',
    says: ['kind not set'],
  },
  {
    mistake: 'an unknown version',
    manifest: manifestOf('Runner', 'bad', 'templateName: linux').replace('v1alpha1', 'v1'),
    says: ['no matches for kind "Runner" in version "shoesvz.dev/v1"'],
  },
  {
    mistake: 'an unknown kind',
    manifest: manifestOf('VirtualMachine', 'bad', 'templateName: linux'),
    says: ['no matches for kind "VirtualMachine"'],
  },
  {
    mistake: 'Runner: no spec',
    manifest: 'apiVersion: shoesvz.dev/v1alpha1\nkind: Runner\nmetadata: {name: bad}\n',
    says: ['spec: Required value'],
  },
  {
    mistake: 'Runner: a name that is no host name, and no runnerName',
    manifest: manifestOf('Runner', 'build.7', 'templateName: linux'),
    says: ['spec.runnerName', 'must be set, because metadata.name cannot be a host name', 'e.g. runner-1'],
  },
  {
    mistake: 'Runner: a name longer than a host name, and no runnerName',
    manifest: manifestOf('Runner', 'a'.repeat(64), 'templateName: linux'),
    says: ['spec.runnerName', 'at most 63 lower-case letters'],
  },

  runner('no template', 'completion: Never', 'spec.templateName: Required value'),
  runner('a misspelt field', 'tempalteName: linux', 'unknown field "spec.tempalteName"'),
  runner(
    'a misspelt field far down',
    'templateName: linux\ntimeouts: {bot: 5m}',
    'unknown field "spec.timeouts.bot"',
  ),
  runner('an empty template name', 'templateName: ""', 'spec.templateName', 'at least 1 char'),
  runner('a template name in capitals', 'templateName: Linux', 'spec.templateName', '"Linux"', A_NAME),
  runner('a path for a template name', 'templateName: ../linux', 'spec.templateName', '"../linux"', A_NAME),
  runner('a number for a template name', 'templateName: 26', 'spec.templateName', 'must be of type string'),
  runner('a class name with a blank', 'templateName: linux\nclassName: so small', 'spec.className', A_NAME),
  runner(
    'no start at all',
    'templateName: linux\nstartAttempts: 0',
    'spec.startAttempts',
    'greater than or equal to 1',
  ),
  runner(
    'more starts than are allowed',
    'templateName: linux\nstartAttempts: 11',
    'spec.startAttempts',
    'less than or equal to 10',
  ),
  runner(
    'starts in words',
    'templateName: linux\nstartAttempts: three',
    'spec.startAttempts',
    'must be of type integer',
  ),
  runner(
    'a runner name with dots',
    'templateName: linux\nrunnerName: a.example.com',
    'spec.runnerName',
    '"a.example.com"',
    A_HOST_NAME,
  ),
  runner(
    'a runner name in capitals',
    'templateName: linux\nrunnerName: Mini',
    'spec.runnerName',
    A_HOST_NAME,
  ),
  runner(
    'a runner name that is too long',
    `templateName: linux\nrunnerName: ${'a'.repeat(64)}`,
    'spec.runnerName',
    'may not be more than 63',
  ),
  runner(
    'a setup script without a source',
    'templateName: linux\nsetupScript: {keepOutput: true}',
    'spec.setupScript',
    'must have exactly one of inline and secretKeyRef',
  ),
  runner(
    'a setup script with two sources',
    'templateName: linux\nsetupScript: {inline: "true", secretKeyRef: {name: a, key: b}}',
    'spec.setupScript',
    'must have exactly one of inline and secretKeyRef',
  ),
  runner(
    'a setup script that is text',
    'templateName: linux\nsetupScript: "true"',
    'spec.setupScript',
    'object',
  ),
  runner(
    'an empty script',
    'templateName: linux\nsetupScript: {inline: ""}',
    'spec.setupScript.inline',
    'at least 1 char',
  ),
  runner(
    'a script that is too long',
    `templateName: linux\nsetupScript: {inline: ${'x'.repeat(131_073)}}`,
    'spec.setupScript.inline',
    'may not be more than 131072',
  ),
  runner(
    'a Secret without a key',
    'templateName: linux\nsetupScript: {secretKeyRef: {name: a}}',
    'spec.setupScript.secretKeyRef.key: Required value',
  ),
  runner(
    'a key that no Secret can have',
    'templateName: linux\nsetupScript: {secretKeyRef: {name: a, key: b/c}}',
    'spec.setupScript.secretKeyRef.key',
    'must be a key of a Secret',
    'e.g. setup.sh',
  ),
  runner(
    'a Secret of another namespace',
    'templateName: linux\nsetupScript: {secretKeyRef: {name: other/a, key: b}}',
    'spec.setupScript.secretKeyRef.name',
    A_NAME,
  ),
  runner(
    'an unknown completion',
    'templateName: linux\ncompletion: script',
    'spec.completion',
    '"script"',
    '"Job", "Script", "Never"',
  ),
  runner(
    'completion Script without a script',
    'templateName: linux\ncompletion: Script',
    'spec.setupScript',
    'must be set, because with completion: Script the Runner is over when its setup script exits',
  ),
  runner(
    'a timeout of nothing',
    'templateName: linux\ntimeouts: {boot: 0s}',
    'spec.timeouts.boot',
    A_DURATION,
  ),
  runner(
    'a negative timeout',
    'templateName: linux\ntimeouts: {boot: -5m}',
    'spec.timeouts.boot',
    A_DURATION,
  ),
  runner(
    'a timeout without a unit',
    'templateName: linux\ntimeouts: {clone: "90"}',
    'spec.timeouts.clone',
    A_DURATION,
  ),
  runner(
    'a timeout that is a number',
    'templateName: linux\ntimeouts: {clone: 90}',
    'spec.timeouts.clone',
    'string',
  ),
  runner(
    'a timeout in days',
    'templateName: linux\ntimeouts: {setup: 1d}',
    'spec.timeouts.setup',
    A_DURATION,
  ),
  runner(
    'a timeout beyond a week',
    'templateName: linux\ntimeouts: {setup: 169h}',
    'spec.timeouts.setup',
    A_DURATION,
  ),
  runner(
    'a deadline of nothing',
    'templateName: linux\nactiveDeadlineSeconds: 0',
    'spec.activeDeadlineSeconds',
    'greater than or equal to 1',
  ),
  runner(
    'a deadline that is a duration',
    'templateName: linux\nactiveDeadlineSeconds: 1h',
    'spec.activeDeadlineSeconds',
    'must be of type integer',
  ),
  runner(
    'a deadline with half a second',
    'templateName: linux\nactiveDeadlineSeconds: 1.5',
    'spec.activeDeadlineSeconds',
    'must be of type integer',
  ),
  runner(
    'a deadline beyond all measure',
    'templateName: linux\nactiveDeadlineSeconds: 2147483648',
    'must be of type integer with format int32 in spec.activeDeadlineSeconds',
  ),
  runner(
    'a negative time to live',
    'templateName: linux\nttlSecondsAfterFinished: -1',
    'spec.ttlSecondsAfterFinished',
    'greater than or equal to 0',
  ),
  runner(
    'a time to live that is a duration',
    'templateName: linux\nttlSecondsAfterFinished: 1h',
    'spec.ttlSecondsAfterFinished',
    'must be of type integer',
  ),
  runner(
    'a selector with a key that is no label',
    'templateName: linux\nhostSelector: {"pool name": ios}',
    'spec.hostSelector',
    'must have keys that are names of labels',
    'e.g. example.com/pool',
  ),
  runner(
    'a selector with a value that is no label',
    'templateName: linux\nhostSelector: {pool: "ios and mac"}',
    'spec.hostSelector[pool]',
    A_LABEL_VALUE,
  ),
  runner(
    'a selector with a boolean',
    'templateName: linux\nhostSelector: {fast: true}',
    'spec.hostSelector.fast',
    'must be of type string',
  ),
  runner(
    'a selector of too many labels',
    `templateName: linux\nhostSelector: {${Array.from({ length: 17 }, (_, index) => `k${index}: v`).join(', ')}}`,
    'spec.hostSelector',
    'must have at most 16 items',
  ),
  runner(
    'a binding of one’s own',
    `templateName: linux${BINDING}`,
    'spec.binding',
    'must be absent when a Runner is created: the controller writes it',
  ),

  template('no source', 'os: linux\narch: amd64', 'spec.source: Required value'),
  template('a source of no kind', 'os: linux\narch: amd64\nsource: {}', 'spec.source.bundle: Required value'),
  template(
    'an unknown source',
    'os: linux\narch: amd64\nsource: {image: a}',
    'unknown field "spec.source.image"',
  ),
  template(
    'an unknown system',
    LINUX.replace('os: linux', 'os: windows'),
    'spec.os',
    '"windows"',
    '"macOS", "linux"',
  ),
  template(
    'an architecture by its other name',
    LINUX.replace('amd64', 'x86_64'),
    'spec.arch',
    '"x86_64"',
    '"arm64", "amd64"',
  ),
  template(
    'a path for a bundle',
    LINUX.replace('name: linux', 'name: /templates/linux'),
    'spec.source.bundle.name',
    A_NAME,
  ),
  template(
    'a digest without its algorithm',
    LINUX.replace('{name: linux}', `{name: linux, digest: "${'0'.repeat(64)}"}`),
    'spec.source.bundle.digest',
    A_DIGEST,
  ),
  template('port 0', `${LINUX}\nssh: {port: 0}`, 'spec.ssh.port', 'greater than or equal to 1'),
  template('a port beyond 65535', `${LINUX}\nguestAgent: {port: 80800}`, 'spec.guestAgent.port', '65535'),
  template(
    'a user that is an option of ssh',
    `${LINUX}\nssh: {user: -oProxyCommand=true}`,
    'spec.ssh.user',
    'must be the name of a user in the guest',
    'e.g. runner',
  ),
  template(
    'minimum memory without a unit',
    `${LINUX}\nminimum: {memory: "8"}`,
    'spec.minimum.memory',
    A_SIZE,
  ),

  template('a timeout in days', `${LINUX}\ntimeouts: {clone: 1d}`, 'spec.timeouts.clone', A_DURATION),
  template('a timeout of nothing', `${LINUX}\ntimeouts: {setup: 0s}`, 'spec.timeouts.setup', A_DURATION),
  template(
    'a timeout that is a number',
    `${LINUX}\ntimeouts: {boot: 90}`,
    'spec.timeouts.boot',
    'must be of type string',
  ),
  template('a misspelt timeout', `${LINUX}\ntimeouts: {bot: 5m}`, 'unknown field "spec.timeouts.bot"'),

  runnerClass('no sizes', '{}', 'spec.cpu: Required value', 'spec.disk: Required value'),
  runnerClass('no CPU', 'cpu: 0\nmemory: 8Gi\ndisk: 20Gi', 'spec.cpu', 'greater than or equal to 1'),
  runnerClass('half a CPU', 'cpu: 0.5\nmemory: 8Gi\ndisk: 20Gi', 'spec.cpu', 'integer'),
  runnerClass('memory without a unit', 'cpu: 1\nmemory: "8"\ndisk: 20Gi', 'spec.memory', '"8"', A_SIZE),
  runnerClass('memory that is a number', 'cpu: 1\nmemory: 8\ndisk: 20Gi', 'spec.memory', 'string'),
  runnerClass('no memory', 'cpu: 1\nmemory: 0Gi\ndisk: 20Gi', 'spec.memory', A_SIZE),
  runnerClass(
    'a unit that Kubernetes does not know',
    'cpu: 1\nmemory: 8GB\ndisk: 20Gi',
    'spec.memory',
    A_SIZE,
  ),
  runnerClass('a negative disk', 'cpu: 1\nmemory: 8Gi\ndisk: -20Gi', 'spec.disk', A_SIZE),
  runnerClass('a disk beyond all measure', 'cpu: 1\nmemory: 8Gi\ndisk: 2000Ti', 'spec.disk', A_SIZE),

  {
    mistake: 'LinuxHost: a name too long for a finalizer',
    manifest: manifestOf('LinuxHost', 'a'.repeat(53), '{}'),
    says: ['metadata.name', 'must be at most 52 characters long'],
  },
  host('fewer than no Runners', 'maxRunners: -1', 'spec.maxRunners', 'greater than or equal to 0'),
  host('more Runners than any host', 'maxRunners: 1001', 'spec.maxRunners', 'less than or equal to 1000'),
  host('overcommitment by nothing', 'cpuOvercommit: 0', 'spec.cpuOvercommit', 'greater than or equal to 1'),
  host('overcommitment beyond 64', 'cpuOvercommit: 65', 'spec.cpuOvercommit', 'less than or equal to 64'),
  host('a word for a boolean', 'unschedulable: "yes"', 'spec.unschedulable', 'must be of type boolean'),
  host(
    'fewer than no CPUs reserved',
    'reserved: {cpu: -1}',
    'spec.reserved.cpu',
    'greater than or equal to 0',
  ),
  host('half a CPU reserved', 'reserved: {cpu: 0.5}', 'spec.reserved.cpu', 'integer'),
  host('a share reserved', 'reserved: {memory: 10%}', 'spec.reserved.memory', '"10%"', A_RESERVE),
  host('memory reserved without a unit', 'reserved: {memory: "4"}', 'spec.reserved.memory', '"4"', A_RESERVE),
  host('a number reserved', 'reserved: {disk: 20}', 'spec.reserved.disk', 'string'),
  host('a negative reserve', 'reserved: {disk: -20Gi}', 'spec.reserved.disk', A_RESERVE),
  host('Runners reserved', 'reserved: {runners: 1}', 'unknown field "spec.reserved.runners"'),
  host('a misspelt field', 'unscheduleable: true', 'unknown field "spec.unscheduleable"'),
];
