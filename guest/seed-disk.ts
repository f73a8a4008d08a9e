import { closeSync, openSync, readSync } from 'node:fs';
import type { GuestPlatform } from './platform.ts';
import { SEED_SERIAL } from './protocol.ts';
import { MAX_SEED_BYTES, parseSeed, type Seed, type SeedProblem } from './seed.ts';

/** How often a disk that is not there yet is looked for: quickly while the machine boots, rarely afterwards. */
const QUICK_MS = 50;
const QUICK_LOOKS = 100;
const SLOW_MS = 5_000;

/**
 * Waits until there is a whole seed. What is wrong meanwhile is said on the console, once: without a seed there
 * are no keys of this VM's own, so nothing may serve SSH, and a person looks at the console to learn why.
 */
export async function awaitSeed(platform: GuestPlatform): Promise<Seed> {
  let said = '';
  for (let looks = 0; ; looks++) {
    const seed = await readSeedDisk(platform);
    if (!('problem' in seed)) return seed;
    const patient = looks >= QUICK_LOOKS || seed.problem !== NO_DISK;
    if (patient && said !== seed.problem) {
      said = seed.problem;
      platform.say(`seed disk: ${seed.problem}; sshd is not started`);
    }
    await new Promise((resolve) => setTimeout(resolve, patient ? SLOW_MS : QUICK_MS));
  }
}

const NO_DISK = `there is no disk with the serial ${SEED_SERIAL}`;

async function readSeedDisk(platform: GuestPlatform): Promise<Seed | SeedProblem> {
  try {
    const device = await platform.findDisk(SEED_SERIAL);
    return device === undefined ? { problem: NO_DISK } : parseSeed(readDevice(device));
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown error';
    return { problem: `it cannot be read (${code})` };
  }
}

/** At most MAX_SEED_BYTES: a seed's archive ends long before that. */
function readDevice(path: string): Uint8Array {
  const buffer = Buffer.allocUnsafe(MAX_SEED_BYTES);
  const fd = openSync(path, 'r');
  try {
    for (let length = 0; ; ) {
      const count = readSync(fd, buffer, length, buffer.length - length, length);
      if (count === 0) return buffer.subarray(0, length);
      length += count;
    }
  } finally {
    closeSync(fd);
  }
}
