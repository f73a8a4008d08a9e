import { join } from 'node:path';
import { SEED_SERIAL } from '../../../guest/protocol.ts';
import type { BundlePaths, PreparedVm, VmCommand } from '../driver.ts';
import { guestName } from './control.ts';

/**
 * What `prepare` found out for QEMU, kept in the bundle so that {@link qemuCommand} needs nothing else.
 * Disk.img is raw, Disk.qcow2 an overlay.
 */
export type QemuFacts = {
  readonly binary: string;
  readonly accelerator: 'kvm' | 'tcg';
  readonly diskFormat: 'raw' | 'qcow2';
  readonly kernelArgs: string;
  /** Whether the template has an initrd. */
  readonly initrd: boolean;
  /** QEMU confines itself with seccomp. */
  readonly sandbox: boolean;
  /** File name of a firmware that is smaller than the default one; empty: the default. */
  readonly firmware: string;
  /** The NIC's backend without its id. */
  readonly netdev: string;
};

const MIB = 2 ** 20;
const SANDBOX = 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny';
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;
/**
 * Most code that TCG keeps translated. Its default is up to 1 GiB per VM, which nobody accounts for; past the
 * limit it starts over.
 */
const TCG_CACHE_MIB = 256;

/**
 * The disk is burnt after use and is worth nothing after a crash of the host, so guest flushes are ignored
 * (`cache=unsafe`); the host's page cache is used, through which VMs share what they read of a template.
 */
const DISK_OPTIONS = 'cache=unsafe,aio=threads,discard=unmap';

/** Pure. Throws on facts that {@link QemuFacts} would not hold: the bundle is not one of this driver's. */
export function qemuCommand(bundle: BundlePaths, prepared: PreparedVm): VmCommand {
  const facts = readFacts(prepared);
  const { spec, endpoints } = prepared;
  const disk = facts.diskFormat === 'raw' ? bundle.disk : bundle.diskOverlay;
  const argv = [
    ['-name', `guest=${escaped(guestName(spec.identity))}`],
    UUID.test(spec.identity.uid) ? ['-uuid', spec.identity.uid] : [],
    ['-no-user-config', '-nodefaults', '-display', 'none', '-no-reboot'],
    facts.sandbox ? ['-sandbox', SANDBOX] : [],
    ['-M', 'q35'],
    facts.accelerator === 'kvm'
      ? ['-accel', 'kvm', '-cpu', 'host']
      : ['-accel', `tcg,thread=multi,tb-size=${TCG_CACHE_MIB}`, '-cpu', 'max'],
    ['-smp', `cpus=${spec.resources.cpu}`, '-m', `${Math.floor(spec.resources.memoryBytes / MIB)}M`],
    facts.firmware === '' ? [] : ['-bios', facts.firmware],
    ['-kernel', join(spec.templateDir, 'kernel')],
    facts.initrd ? ['-initrd', join(spec.templateDir, 'initrd')] : [],
    ['-append', facts.kernelArgs],
    ['-drive', `if=none,id=disk,file=${escaped(disk)},format=${facts.diskFormat},${DISK_OPTIONS}`],
    ['-device', 'virtio-blk-pci,drive=disk'],
    spec.seedDisk === false ? [] : seedDisk(bundle),
    ['-netdev', `${facts.netdev},id=net`],
    ['-device', `virtio-net-pci,netdev=net,mac=${endpoints.mac},romfile=`],
    ['-chardev', `file,id=serial,path=${escaped(bundle.serialLog)},append=on`, '-serial', 'chardev:serial'],
    ['-chardev', `socket,id=control,path=${escaped(bundle.controlSocket)},server=on,wait=off`],
    ['-mon', 'chardev=control,mode=control'],
  ].flat();
  return { file: facts.binary, argv, env: {} };
}

function seedDisk(bundle: BundlePaths): string[] {
  return [
    ...['-drive', `if=none,id=seed,file=${escaped(bundle.seed)},format=raw,readonly=on`],
    ...['-device', `virtio-blk-pci,drive=seed,serial=${SEED_SERIAL}`],
  ];
}

/** A value in a QEMU option list: a comma would end it. */
export function escaped(value: string): string {
  return value.replaceAll(',', ',,');
}

function readFacts({ driver }: PreparedVm): QemuFacts {
  const { binary, accelerator, diskFormat, kernelArgs, initrd, sandbox, firmware, netdev } = driver;
  if (
    typeof binary !== 'string' ||
    (accelerator !== 'kvm' && accelerator !== 'tcg') ||
    (diskFormat !== 'raw' && diskFormat !== 'qcow2') ||
    typeof kernelArgs !== 'string' ||
    typeof initrd !== 'boolean' ||
    typeof sandbox !== 'boolean' ||
    typeof firmware !== 'string' ||
    typeof netdev !== 'string'
  ) {
    throw new Error('the bundle was not prepared by the qemu driver');
  }
  return { binary, accelerator, diskFormat, kernelArgs, initrd, sandbox, firmware, netdev };
}
