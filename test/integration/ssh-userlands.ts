import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Userland } from './ssh-daemon.ts';

/** What the programs for the guest use and every system has. `setsid` and `uname` are told apart below. */
const PLAIN_PROGRAMS = [
  'cat',
  'dd',
  'env',
  'head',
  'kill',
  'ls',
  'mkdir',
  'mkfifo',
  'ps',
  'rm',
  'sh',
  'sleep',
  'tail',
  'tr',
  'wc',
  'yes',
];

/** The machine's own userland; the only one that takes no privileges. */
export const OWN: Userland = { name: "the machine's own" };

/** Userlands that differ from it as guests do. `root`: of the unpacked packages. */
export function otherUserlands(root: string): Userland[] {
  const busybox = join(root, 'bin/busybox');
  const applets = existsSync(busybox)
    ? execFileSync(busybox, ['--list'], { encoding: 'utf8' }).trim().split('\n')
    : [];
  return [
    { name: 'bash as sh', shell: '/bin/bash' },
    {
      name: 'busybox alone',
      shell: busybox,
      programs: Object.fromEntries(applets.map((name) => [name, busybox])),
      only: true,
    },
    {
      name: 'no setsid, and the name of macOS',
      shell: '/bin/bash',
      programs: { ...links([...PLAIN_PROGRAMS, 'bash', 'perl']), uname: '#!/bin/sh\necho Darwin\n' },
      only: true,
    },
    {
      name: 'neither setsid nor perl',
      shell: '/bin/bash',
      programs: links([...PLAIN_PROGRAMS, 'bash', 'uname']),
      only: true,
    },
  ];
}

function links(names: readonly string[]): Record<string, string> {
  const found = names.flatMap((name) => {
    const path = ['/usr/bin', '/bin']
      .map((dir) => join(dir, name))
      .find((candidate) => existsSync(candidate));
    return path === undefined ? [] : [[name, path] as const];
  });
  return Object.fromEntries(found);
}
