import { randomBytes, randomInt } from 'node:crypto';
import { constants } from 'node:fs';
import { chmod, copyFile, rename, stat, statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { BundleStore } from '../bundle.ts';
import {
  asVmError,
  type BundlePaths,
  type Capabilities,
  type PreparedVm,
  type VmCommand,
  type VmControl,
  type VmDriver,
  VmError,
  type VmIdentity,
  type VmSpec,
} from '../driver.ts';
import { readMetadata } from '../metadata.ts';
import type { VmProcesses } from '../process.ts';
import { connectProcessVm } from './process-control.ts';
import type { ProcessVmOptions } from './process-vm.ts';

const PROGRAM = join(import.meta.dirname, 'process-vm.ts');
const PURGE_LIMIT_MS = 15_000;
const SSH_PORT = 2222;
const AGENT_PORT = 8080;

export interface ProcessDriverOptions {
  readonly bundles: BundleStore;
  readonly processes: VmProcesses;
  /** VMs get addresses in this /16: `127.193`. */
  readonly subnet: string;
  /** VMs end by themselves when this process is gone: nothing outlives a test run. Default: this process. */
  readonly leashPid?: number | undefined;
}

/**
 * A driver whose VMs are real processes with real sockets and ports and next to nothing in them: see process-vm.ts.
 * For tests in which processes are killed.
 */
export class ProcessDriver implements VmDriver {
  readonly name = 'fake';
  readonly #options: ProcessDriverOptions;
  /** Addresses that were given to anybody: they may not be on disk yet. */
  readonly #given = new Set<string>();

  constructor(options: ProcessDriverOptions) {
    this.#options = options;
  }

  async probe(): Promise<Capabilities> {
    return { version: '1.0', accelerator: 'fake', reflink: true };
  }

  async prepare(bundle: BundlePaths, spec: VmSpec, signal: AbortSignal): Promise<PreparedVm> {
    signal.throwIfAborted();
    const read = await readMetadata(bundle.metadata);
    if (read.state === 'present' && read.metadata.prepared !== undefined) return read.metadata.prepared;
    try {
      await clone(bundle, spec);
      const host = await this.#freeAddress();
      const mac = `02:${[...randomBytes(5)].map((octet) => octet.toString(16).padStart(2, '0')).join(':')}`;
      const endpoints = {
        ssh: { host, port: SSH_PORT },
        agent: { host, port: AGENT_PORT },
        notifyUrl: `http://10.0.2.2:${spec.notifyPort}`,
        guestIp: '10.0.2.15',
        mac,
      };
      const prepared = { spec, endpoints, driver: {} };
      await this.#options.bundles.update(bundle, { prepared });
      return prepared;
    } catch (error) {
      throw asVmError(error);
    }
  }

  command(bundle: BundlePaths, { spec, endpoints }: PreparedVm): VmCommand {
    const { ssh, agent, mac } = endpoints;
    const { leashPid = process.pid } = this.#options;
    const options: ProcessVmOptions = { identity: spec.identity, mac, ssh, agent, leashPid };
    return {
      file: process.execPath,
      argv: [PROGRAM, bundle.controlSocket, JSON.stringify(options)],
      env: {},
    };
  }

  connect(bundle: BundlePaths, identity: VmIdentity): Promise<VmControl> {
    return connectProcessVm(bundle.controlSocket, identity);
  }

  explainExit(log: string): VmError {
    const line = log.trimEnd().split('\n').at(-1) ?? '';
    const reason = line.startsWith('port taken') ? 'PortTaken' : 'StartFailed';
    return new VmError(reason, line === '' ? 'the VM ended without saying why' : line);
  }

  async purge(bundle: BundlePaths): Promise<void> {
    await this.#options.processes.killAndWait(bundle, PURGE_LIMIT_MS);
  }

  async #freeAddress(): Promise<string> {
    const taken = new Set([...(await takenAddresses(this.#options.bundles)), ...this.#given]);
    for (;;) {
      const host = `${this.#options.subnet}.${randomInt(256)}.${1 + randomInt(254)}`;
      if (taken.has(host) || this.#given.has(host)) continue;
      this.#given.add(host);
      return host;
    }
  }
}

/** Of the other VMs on this host. */
async function takenAddresses(bundles: BundleStore): Promise<(string | undefined)[]> {
  const listing = await bundles.list();
  const reads = await Promise.all(listing.bundles.map(({ metadata }) => readMetadata(metadata)));
  return reads.map((read) =>
    read.state === 'present' ? read.metadata.prepared?.endpoints.ssh.host : undefined,
  );
}

/** As the QEMU driver does, a clone where the filesystem can and nothing that may not fit; the disk never grows. */
async function clone(bundle: BundlePaths, spec: VmSpec): Promise<void> {
  const source = join(spec.templateDir, 'Disk.img');
  if ((await stat(source).catch(() => undefined)) === undefined) {
    throw new VmError('TemplateMissing', `template file ${source} is missing`);
  }
  const { bavail, bsize } = await statfs(bundle.dir);
  const { diskBytes } = spec.resources;
  if (bavail * bsize < diskBytes) {
    throw new VmError('NoRoom', `the disk may grow to ${diskBytes} bytes, ${bavail * bsize} are free`);
  }
  const temporary = `${bundle.disk}.tmp`;
  await copyFile(source, temporary, constants.COPYFILE_FICLONE);
  await chmod(temporary, 0o600);
  await rename(temporary, bundle.disk);
}
