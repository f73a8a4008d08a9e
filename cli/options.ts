import { homedir, hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { InvalidArgumentError, Option } from 'commander';

/** Options that several commands share. Each has an environment variable. */

const PREFIX = 'SHOESVZ_';

/** `--max-runners` → SHOESVZ_MAX_RUNNERS */
export function option(flags: string, description: string): Option {
  const created = new Option(flags, description);
  return created.env(`${PREFIX}${created.name().replaceAll('-', '_').toUpperCase()}`);
}

export function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^[0-9]+$/.test(text) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It has to be an integer from ${min} to ${max}.`);
  };
}

const path = (text: string): string => resolve(text);

const dataHome = (): string => process.env.XDG_DATA_HOME ?? join(homedir(), '.local', 'share');

export const dataDirOption = (): Option =>
  option('--data-dir <dir>', 'where the API server keeps its data, keys and kubeconfig')
    .argParser(path)
    .default(join(dataHome(), 'shoes-vz'));

export const hostRootOption = (defaultDir: string | undefined): Option => {
  const created = option('--host-root <dir>', 'templates and bundles of VMs, on one volume').argParser(path);
  return defaultDir === undefined ? created : created.default(defaultDir);
};

export const hostNameOption = (): Option =>
  option('--host-name <name>', 'name of the host object').default(
    undefined,
    `from the machine: ${hostname()}`,
  );

export const kubeconfigOption = (): Option =>
  option('--kubeconfig <file>', 'how to reach the API server')
    .argParser(path)
    .default(undefined, "KUBECONFIG, ~/.kube/config, or the Pod's service account");

export const contextOption = (): Option =>
  option('--context <name>', 'context of the kubeconfig').default(undefined, 'its current context');

export const logLevelOption = (): Option =>
  option('--log-level <level>', 'least severe log lines')
    .choices(['debug', 'info', 'warn', 'error'])
    .default('info');

export const maxRunnersOption = (): Option =>
  option('--max-runners <n>', 'most VMs at once; for a host object that is created now')
    .argParser(integer(0, 1000))
    .default(undefined, '2 on a Mac, limited by resources on Linux');

export const cpuOvercommitOption = (): Option =>
  option('--cpu-overcommit <n>', 'virtual CPUs per physical one; for a host object that is created now')
    .argParser(integer(1, 64))
    .default(undefined, '1 on a Mac, 4 on Linux');

export const driverOption = (): Option =>
  option('--driver <driver>', 'how VMs run').choices(['qemu']).default('qemu');

export const guestLinkPortOption = (defaultPort: number): Option =>
  option(
    '--guest-link-port <port>',
    'port on which guests report to the host; 0: any free one, the same at each start',
  )
    .argParser(integer(0, 65535))
    .default(defaultPort);

export const stateFileOption = (defaultFile: string | undefined): Option => {
  const created = option('--state-file <file>', 'runner-state.json, for tools on the host').argParser(path);
  return defaultFile === undefined ? created : created.default(defaultFile);
};

export const placementOption = (): Option =>
  option('--placement <policy>', 'whether Runners are spread over hosts or packed on few')
    .choices(['spread', 'pack'])
    .default('spread');

export const metricsPortOption = (defaultPort: number): Option =>
  option('--metrics-port <port>', 'port of /metrics, /healthz and /readyz; 0: none')
    .argParser(integer(0, 65535))
    .default(defaultPort);

export const metricsAddressOption = (): Option =>
  option('--metrics-address <address>', 'address of /metrics, /healthz and /readyz').default('127.0.0.1');
