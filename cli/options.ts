import { isIP } from 'node:net';
import { homedir, hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { InvalidArgumentError, Option } from 'commander';
import { hostNameProblem } from '../node-daemon/host/name.ts';

/** Options that several commands share. Each has an environment variable. */

const PREFIX = 'SHOESVZ_';

/** `--max-runners` → SHOESVZ_MAX_RUNNERS. `fallback` says what holds without it, where that is no fixed value. */
export function option(flags: string, description: string, fallback?: string): Option {
  const text = fallback === undefined ? description : `${description}; default: ${fallback}`;
  const created = new Option(flags, text);
  return created.env(`${PREFIX}${created.name().replaceAll('-', '_').toUpperCase()}`);
}

export function integer(min: number, max: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (/^[0-9]+$/.test(text) && value >= min && value <= max) return value;
    throw new InvalidArgumentError(`It has to be an integer from ${min} to ${max}.`);
  };
}

/** A relative path is one from the working directory. */
export function path(text: string): string {
  if (text === '') throw new InvalidArgumentError('It has to be a path.');
  return resolve(text);
}

function hostName(text: string): string {
  const problem = hostNameProblem(text);
  if (problem !== undefined) throw new InvalidArgumentError(`It ${problem}.`);
  return text;
}

function address(text: string): string {
  if (isIP(text) !== 0 || text === 'localhost') return text;
  throw new InvalidArgumentError('It has to be an IP address of this machine, such as 127.0.0.1.');
}

const dataHome = (): string => process.env.XDG_DATA_HOME ?? join(homedir(), '.local', 'share');

export const dataDirOption = (): Option =>
  option('--data-dir <dir>', 'where the API server keeps its data, keys and kubeconfig')
    .argParser(path)
    .default(join(dataHome(), 'shoes-vz'));

/** Of hosts that serve a cluster. */
export const DEFAULT_HOST_ROOT = '/opt/myshoes/vz';

export const hostRootOption = (fallback?: string): Option =>
  option('--host-root <dir>', 'templates and bundles of VMs, on one volume', fallback).argParser(path);

export const hostNameOption = (fallback: string): Option =>
  option('--host-name <name>', 'name of the host object', fallback).argParser(hostName);

/** What a host name is by default. */
export const OWN_NAME = `the machine's own, ${hostname()}`;

export const kubeconfigOption = (): Option =>
  option(
    '--kubeconfig <file>',
    'how to reach the API server',
    "KUBECONFIG, ~/.kube/config, or the Pod's service account",
  ).argParser(path);

export const contextOption = (): Option =>
  option('--context <name>', 'context of the kubeconfig', 'its current context');

export const logLevelOption = (): Option =>
  option('--log-level <level>', 'least severe log lines')
    .choices(['debug', 'info', 'warn', 'error'])
    .default('info');

export const maxRunnersOption = (): Option =>
  option(
    '--max-runners <n>',
    'most VMs at once; for a host object that is created now',
    '2 on a Mac, limited by resources on Linux',
  ).argParser(integer(0, 1000));

export const cpuOvercommitOption = (): Option =>
  option(
    '--cpu-overcommit <n>',
    'virtual CPUs per physical one; for a host object that is created now',
    '1 on a Mac, 4 on Linux',
  ).argParser(integer(1, 64));

export const driverOption = (): Option =>
  option('--driver <driver>', 'how VMs run').choices(['qemu']).default('qemu');

export const guestLinkPortOption = (defaultPort: number): Option =>
  option(
    '--guest-link-port <port>',
    'port on which guests report to the host; 0: any free one, the same at each start',
  )
    .argParser(integer(0, 65535))
    .default(defaultPort);

export const stateFileOption = (defaultFile: string): Option =>
  option('--state-file <file>', 'runner-state.json, for tools on the host')
    .argParser(path)
    .default(defaultFile);

export const placementOption = (): Option =>
  option('--placement <policy>', 'whether Runners are spread over hosts or packed on few')
    .choices(['spread', 'pack'])
    .default('spread');

export const leaderElectOption = (): Option =>
  option('--leader-elect', 'of several controllers one works, the others wait; default: yes').default(true);

export const noLeaderElectOption = (): Option =>
  option('--no-leader-elect', 'works at once: only where there is no other controller');

export const metricsPortOption = (defaultPort: number): Option =>
  option('--metrics-port <port>', 'port of /metrics, /healthz and /readyz; 0: none')
    .argParser(integer(0, 65535))
    .default(defaultPort);

export const metricsAddressOption = (): Option =>
  option('--metrics-address <address>', 'address of /metrics, /healthz and /readyz')
    .argParser(address)
    .default('127.0.0.1');
