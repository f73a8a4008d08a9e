import { existsSync, readdirSync, readFileSync, statSync, writeSync } from 'node:fs';
import { setPriority } from 'node:os';
import { addressOf } from '../address.ts';
import type { GuestPlatform } from '../platform.ts';
import { linuxProcessScan } from './processes.ts';
import { listens } from './tcp-table.ts';

const SSH_PORT = 22;
const CONSOLE_FD = 1;

/** A Debian guest as `template build linux` makes it: busybox init, dropbear. */
export function linuxPlatform(): GuestPlatform {
  const scan = linuxProcessScan();
  return {
    findDisk: async (serial) => {
      const name = readdirSync('/sys/block').find((disk) => serialOf(disk) === serial);
      return name === undefined ? undefined : `/dev/${name}`;
    },
    // The boot scripts do it: see rootfs/usr/lib/shoesvz/identify.
    identify: async () => undefined,
    raisePriority: () => setPriority(0),
    sshListening: async () =>
      ['/proc/net/tcp', '/proc/net/tcp6'].some(
        (table) => existsSync(table) && listens(readText(table), SSH_PORT),
      ),
    say: (line) => {
      writeSync(CONSOLE_FD, `shoesvz: ${line}\n`);
    },
    address: addressOf,
    bootId: () => readText('/proc/sys/kernel/random/boot_id').trim(),
    runnerProcesses: async () => scan(),
    runnerHomes: () =>
      ['/opt', ...readdirSync('/home').map((name) => `/home/${name}`), '/'].filter(isDirectory),
  };
}

function serialOf(disk: string): string | undefined {
  try {
    return readText(`/sys/block/${disk}/serial`).trim();
  } catch {
    return undefined;
  }
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}

function readText(path: string): string {
  return readFileSync(path, 'utf8');
}
