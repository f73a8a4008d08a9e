import { readdirSync } from 'node:fs';
import { createConnection } from 'node:net';
import { addressOf } from '../address.ts';
import type { GuestPlatform } from '../platform.ts';
import { type RunnerProcess, runnerProcessOf } from '../runner-processes.ts';
import { type Command, runCommand } from './command.ts';
import { identifyMac } from './install.ts';
import { diskOfSerial } from './ioreg.ts';

const SSH_PORT = 22;
const CONNECT_MS = 1_000;

/**
 * A macOS guest whose agent launchd starts as root and whose template has remote login disabled. Written from
 * documentation; it has not run on a Mac yet.
 */
export async function macosPlatform(command: Command = runCommand): Promise<GuestPlatform> {
  const bootId = (await command('/usr/sbin/sysctl', '-n', 'kern.bootsessionuuid')).trim();
  return {
    findDisk: async (serial) => {
      const text = await command('/usr/sbin/ioreg', '-r', '-l', '-w', '0', '-c', 'IOBlockStorageDevice');
      const disk = diskOfSerial(text, serial);
      return disk === undefined ? undefined : `/dev/r${disk}`;
    },
    identify: (seed) => identifyMac(seed, '/', command),
    sshListening: () => accepts(SSH_PORT),
    say: (line) => {
      process.stdout.write(`shoesvz: ${line}\n`);
    },
    address: addressOf,
    raisePriority: () => undefined,
    bootId: () => bootId,
    runnerProcesses: async () => parseProcesses(await command('/bin/ps', '-axww', '-o', 'command=')),
    runnerHomes: () => ['/opt', ...readdirSync('/Users').map((name) => `/Users/${name}`)],
  };
}

/** The Actions runner's processes among the lines of `ps -o command=`, which loses where arguments end. */
export function parseProcesses(ps: string): readonly RunnerProcess[] {
  return ps.split('\n').flatMap((line) => runnerProcessOf(line.trim().split(/\s+/), () => '/') ?? []);
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ host: '127.0.0.1', port, timeout: CONNECT_MS });
    const settle = (result: boolean): void => {
      socket.destroy();
      resolve(result);
    };
    socket.once('connect', () => settle(true));
    socket.once('timeout', () => settle(false));
    socket.once('error', () => settle(false));
  });
}
