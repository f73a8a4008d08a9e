import { type BundleStore, templatesDir } from '../bundle.ts';
import {
  asVmError,
  type BundlePaths,
  type Capabilities,
  type GuestEndpoints,
  type PreparedVm,
  type VmCommand,
  type VmControl,
  type VmDriver,
  type VmError,
  type VmIdentity,
  type VmSpec,
} from '../driver.ts';
import { readMetadata } from '../metadata.ts';
import type { VmProcesses } from '../process.ts';
import { systemProcessTable } from '../process-table.ts';
import { type AcceleratorChoice, chooseAccelerator } from './accelerator.ts';
import { cloneDisk, probeReflink } from './clone.ts';
import { type QemuFacts, qemuCommand } from './command.ts';
import { connectQemu } from './control.ts';
import { explainQemuExit } from './exit.ts';
import { inspectInstallation, type QemuInstallation } from './installation.ts';
import { type QemuNetwork, randomMac, userNetwork } from './network.ts';
import { anyBootableTemplate, readBootableTemplate } from './template-files.ts';

export interface QemuDriverOptions {
  readonly bundles: BundleStore;
  readonly processes: VmProcesses;
  /** Default: `qemu-system-x86_64` from PATH. */
  readonly binary?: string;
  /** Default: QEMU's user networking. */
  readonly network?: QemuNetwork;
  /** Takes this accelerator without trying. */
  readonly accelerator?: 'kvm' | 'tcg';
}

const PURGE_LIMIT_MS = 15_000;
const PLUG_TRIES = 16;

/** Linux VMs, each a QEMU process (q35, virtio, kernel from the template). */
export class QemuDriver implements VmDriver {
  readonly name = 'qemu';
  readonly #options: QemuDriverOptions;
  readonly #network: QemuNetwork;
  /** Addresses and MACs of VMs that are being prepared and are not on disk yet. */
  readonly #reserved = new Set<string>();
  #installation: Promise<QemuInstallation> | undefined;
  #accelerator: Promise<AcceleratorChoice> | undefined;

  constructor(options: QemuDriverOptions) {
    this.#options = options;
    this.#network = options.network ?? userNetwork();
  }

  async probe(): Promise<Capabilities> {
    const { root } = this.#options.bundles;
    const [installation, choice, reflink] = await Promise.all([
      this.#inspect(),
      this.#choose(),
      probeReflink(root, root),
    ]);
    return {
      version: installation.version,
      accelerator: choice.accelerator,
      acceleratorReason: choice.reason,
      reflink,
    };
  }

  async prepare(bundle: BundlePaths, spec: VmSpec, signal: AbortSignal): Promise<PreparedVm> {
    const reserved = new Set<string>();
    try {
      const read = await readMetadata(bundle.metadata);
      if (read.state === 'present' && read.metadata.prepared !== undefined) return read.metadata.prepared;
      return await this.#prepare(bundle, spec, reserved, signal);
    } catch (error) {
      signal.throwIfAborted();
      throw asVmError(error);
    } finally {
      for (const key of reserved) this.#reserved.delete(key);
    }
  }

  command(bundle: BundlePaths, prepared: PreparedVm): VmCommand {
    return qemuCommand(bundle, prepared);
  }

  connect(bundle: BundlePaths, identity: VmIdentity): Promise<VmControl> {
    return connectQemu(bundle, identity, this.#options.processes);
  }

  explainExit(log: string): VmError {
    return explainQemuExit(log);
  }

  async purge(bundle: BundlePaths): Promise<void> {
    await this.#options.processes.killAndWait(bundle, PURGE_LIMIT_MS);
  }

  async #prepare(
    bundle: BundlePaths,
    spec: VmSpec,
    reserved: Set<string>,
    signal: AbortSignal,
  ): Promise<PreparedVm> {
    const [template, installation, choice] = await Promise.all([
      readBootableTemplate(spec.templateDir),
      this.#inspect(),
      this.#choose(),
    ]);
    signal.throwIfAborted();
    const cloning = cloneDisk(bundle, template.disk, spec.resources.diskBytes, signal);
    const plugging = this.#plug(spec, reserved);
    // Neither may go on behind a failure of the other: the bundle is purged then.
    await Promise.allSettled([cloning, plugging]);
    const [diskFormat, nic] = [await cloning, await plugging];
    const driver: QemuFacts = {
      binary: installation.binary,
      accelerator: choice.accelerator,
      diskFormat,
      kernelArgs: template.kernelArgs,
      initrd: template.initrd,
      sandbox: installation.sandbox,
      firmware: installation.firmware,
      netdev: nic.netdev,
    };
    const prepared = { spec, endpoints: nic.endpoints, driver };
    signal.throwIfAborted();
    await this.#options.bundles.update(bundle, { prepared });
    return prepared;
  }

  /** A failure is not remembered: QEMU may be installed meanwhile. */
  #inspect(): Promise<QemuInstallation> {
    this.#installation ??= inspectInstallation(this.#options.binary ?? 'qemu-system-x86_64');
    const current = this.#installation;
    current.catch(() => {
      if (this.#installation === current) this.#installation = undefined;
    });
    return current;
  }

  /** Tried once; again while there was no template to try with. */
  #choose(): Promise<AcceleratorChoice> {
    this.#accelerator ??= this.#tryAccelerators();
    const current = this.#accelerator;
    const forget = (): void => {
      if (this.#accelerator === current) this.#accelerator = undefined;
    };
    current.then((choice) => choice.decided || forget(), forget);
    return current;
  }

  async #tryAccelerators(): Promise<AcceleratorChoice> {
    const { accelerator, bundles } = this.#options;
    if (accelerator !== undefined) return { accelerator, reason: 'set by configuration', decided: true };
    const [installation, template, bootId] = await Promise.all([
      this.#inspect(),
      anyBootableTemplate(templatesDir(bundles.root)),
      systemProcessTable().bootId(),
    ]);
    return chooseAccelerator(bundles.root, installation, template, bootId);
  }

  /** Chooses MAC and addresses that no other bundle has, and reserves them until they are on disk. */
  async #plug(
    spec: VmSpec,
    reserved: Set<string>,
  ): Promise<{ readonly netdev: string; readonly endpoints: GuestEndpoints }> {
    for (let round = 0; round < PLUG_TRIES; round++) {
      const { netdev, endpoints } = await this.#network.plug(spec);
      const mac = randomMac();
      const keys = [mac, addressOf(endpoints)];
      if (keys.some((key) => this.#reserved.has(key))) continue;
      for (const key of keys) {
        this.#reserved.add(key);
        reserved.add(key);
      }
      // Looked up once they are reserved: whoever gave up the same reservation since is on disk by now.
      const taken = await this.#takenAddresses();
      if (!keys.some((key) => taken.has(key))) return { netdev, endpoints: { ...endpoints, mac } };
      for (const key of keys) {
        this.#reserved.delete(key);
        reserved.delete(key);
      }
    }
    throw new Error(`no address found in ${PLUG_TRIES} tries that no other bundle has`);
  }

  async #takenAddresses(): Promise<ReadonlySet<string>> {
    const { bundles } = await this.#options.bundles.list();
    const reads = await Promise.all(bundles.map((bundle) => readMetadata(bundle.metadata)));
    const taken = new Set<string>();
    for (const read of reads) {
      const endpoints = read.state === 'present' ? read.metadata.prepared?.endpoints : undefined;
      if (endpoints !== undefined) taken.add(endpoints.mac).add(addressOf(endpoints));
    }
    return taken;
  }
}

function addressOf({ ssh }: Pick<GuestEndpoints, 'ssh'>): string {
  return `${ssh.host}:${ssh.port}`;
}
