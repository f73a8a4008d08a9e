import { type DaemonMachine, startDaemon } from '../../../node-daemon/daemon.ts';
import { GuestRegister } from '../../../node-daemon/guest-link/register.ts';
import type { VmSecrets } from '../../../node-daemon/runner/ports.ts';
import type { BundlePaths } from '../../../node-daemon/vm/driver.ts';
import { SimClient } from '../api-server/client.ts';
import type { Frontend } from '../api-server/frontend.ts';
import type { Life } from '../life.ts';
import type { LogInto } from '../log.ts';
import type { Program } from '../process.ts';
import { SimBundles } from './disk.ts';
import { guestAccessOf } from './guests.ts';
import type { SimHost } from './host.ts';
import { runtimeOf } from './runtime.ts';

const GUEST_LINK_PORT = 8081;

/** Runs the real node daemon on a simulated machine. */
export async function runDaemon(
  host: SimHost,
  life: Life,
  frontend: Frontend,
  logInto: LogInto,
): Promise<Program> {
  const { timeline } = host.world;
  const client = new SimClient({ timeline, frontend, link: host.link, life });
  const undo: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    for (const step of undo.toReversed()) await step();
  };
  const options = {
    client,
    hostName: host.name,
    maxRunners: host.maxRunners,
    version: '0.0.0',
    log: logInto(life),
    clock: life.clock,
  };
  try {
    await startDaemon(options, machineOf(host, life), (step) => undo.push(step));
  } catch (error) {
    await stop();
    throw error;
  }
  return { stop };
}

function machineOf(host: SimHost, life: Life): DaemonMachine {
  const bundles = new SimBundles(host.root, host.disk, life);
  const register = new GuestRegister(() => life.clock.monotonic());
  host.register = register;
  life.onDeath(() => {
    if (host.register === register) host.register = undefined;
  });
  return {
    root: { path: host.root, machineId: host.machineId },
    driver: {
      name: 'fake',
      probe: async () => {
        await life.takes(life.random.int(20, 800));
        return { version: '1', accelerator: 'fake', reflink: true };
      },
    },
    machine: host.machine,
    bootId: async () => host.bootId,
    disk: {
      inventory: {
        listing: () => host.listing(),
        settled: life.takes(life.random.int(0, 700)),
        onChange: (listener) => host.onTemplates(() => !life.isDead && listener()),
        start: async () => undefined,
        stop: async () => undefined,
      },
      rebootNote: {
        read: async () => {
          await life.takes(1);
          return host.rebootNote;
        },
        replace: async (content) => {
          await life.takes(1);
          await life.effect('note that a reboot is needed', () => {
            host.rebootNote = content;
          });
        },
        remove: async () => {
          host.rebootNote = undefined;
        },
      },
      readVolume: async () => ({
        totalBytes: host.machine.diskBytes,
        freeBytes: host.disk.isFull ? 0 : host.machine.diskBytes / 2,
      }),
    },
    bundles,
    runtime: runtimeOf(host, life, bundles),
    secrets: secretsOf(host, bundles),
    guestLink: {
      port: GUEST_LINK_PORT,
      expect: (guest, onReport) => register.add(guest, (report) => !life.isDead && onReport(report)),
      forget: (guest) => register.remove(guest),
      counts: () => ({ accepted: 0, unauthorized: 0, malformed: 0, throttled: 0 }),
    },
    guests: () => guestAccessOf(host, life),
    stateFile: () => ({ changed: () => undefined, stop: async () => undefined }),
  };
}

const secretsOf = (host: SimHost, bundles: SimBundles): VmSecrets => ({
  make: async (bundle: BundlePaths) => {
    const token = host.newSecret();
    const hostKey = `ssh-ed25519 AAAA${host.newSecret()}`;
    await bundles.put(bundle, 'id_ed25519', host.newSecret());
    await bundles.put(bundle, 'guest-token', token);
    return {
      hostKey,
      writeSeed: ({ uid, attempt }) => bundles.put(bundle, 'seed.img', { token, hostKey, uid, attempt }),
    };
  },
  token: async (bundle) => {
    const token = host.disk.files(bundle)?.get('guest-token');
    if (typeof token !== 'string') throw Object.assign(new Error('ENOENT: guest-token'), { code: 'ENOENT' });
    return token;
  },
});
