import { join } from 'node:path';
import { expect, inject, onTestFinished, test } from 'vitest';
import type { GuestReport } from '../../guest/protocol.ts';
import type { Logger } from '../../kube/log.ts';
import { fetchGuestHealth, fetchGuestStatus } from '../../node-daemon/guest-link/client.ts';
import { type GuestLink, startGuestLink } from '../../node-daemon/guest-link/server.ts';
import { openSession, type SshSession, type SshTarget } from '../../node-daemon/ssh/session.ts';
import { waitForSsh } from '../../node-daemon/ssh/wait.ts';
import type { QemuDriverOptions } from '../../node-daemon/vm/qemu/driver.ts';
import { startSegment } from './guest-link-segment.ts';
import { createIdentifiedGuest, type IdentifiedGuest, RUN, startIdentifiedGuest } from './ssh-guests.ts';
import { makeQemuMachine, type QemuMachine } from './vm-qemu-machine.ts';

const TEMPLATE = join(inject('templatesDir'), 'debian');
const BOOT = { timeoutMs: 180_000 };
const LIMIT = { timeoutMs: 30_000 };

const log: Logger = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} };

async function newLink(): Promise<GuestLink> {
  const link = await startGuestLink({ host: '127.0.0.1', port: 0, log });
  onTestFinished(() => link.close());
  return link;
}

async function newMachine(options: Partial<QemuDriverOptions> = {}): Promise<QemuMachine> {
  const machine = await makeQemuMachine(TEMPLATE, options);
  onTestFinished(() => machine.dispose());
  return machine;
}

/** What a guest reports, from the moment at which it is expected. */
class Reports {
  readonly all: GuestReport[] = [];
  readonly #next = new Set<() => void>();

  constructor(link: GuestLink, guest: IdentifiedGuest) {
    const { uid, attempt } = guest.bundle;
    const { mac } = guest.prepared.endpoints;
    link.expect({ token: guest.token, mac, uid, attempt }, (report) => {
      this.all.push(report);
      for (const wake of this.#next) wake();
      this.#next.clear();
    });
  }

  async first(): Promise<GuestReport> {
    for (;;) {
      const [report] = this.all;
      if (report !== undefined) return report;
      await new Promise<void>((resolve) => this.#next.add(resolve));
    }
  }

  /** As the runner's reconciler hears of them. */
  readonly nudge = (listener: () => void): (() => void) => {
    this.#next.add(listener);
    return () => this.#next.delete(listener);
  };
}

test('a guest says that it is there, and answers who has its token', async () => {
  const link = await newLink();
  const machine = await newMachine();
  const guest = await createIdentifiedGuest(machine, 'reporting', link.port);
  const reports = new Reports(link, guest);
  const control = await startIdentifiedGuest(machine, guest);
  control.close();
  const session = await waitForSsh(guest.target, { ...BOOT, nudge: reports.nudge });
  const { mac, agent } = guest.prepared.endpoints;
  expect(await reports.first()).toEqual({ mac, ip: '10.0.2.15', event: 'Ready', state: 'NoRunner' });
  await fetchGuestHealth(agent, LIMIT);
  const { uid, attempt } = guest.bundle;
  const status = await fetchGuestStatus(agent, guest.token, LIMIT);
  expect(status).toMatchObject({
    hostname: 'reporting',
    uid,
    attempt,
    mac,
    ip: '10.0.2.15',
    state: 'NoRunner',
  });
  const boot = await session.exec('cat /proc/sys/kernel/random/boot_id', RUN);
  expect(status.bootId).toBe(boot.stdout.trim());
  const stranger = fetchGuestStatus(agent, '00'.repeat(32), LIMIT);
  await expect(stranger).rejects.toMatchObject({ kind: 'unauthorized' });
  session.close();
});

test('two guests on one segment are never taken for each other, whichever reports first', async () => {
  const link = await newLink();
  const segment = await startSegment();
  onTestFinished(() => segment.stop());
  const machine = await newMachine({ network: segment.network });
  const [a, b] = [
    await createIdentifiedGuest(machine, 'guest-a', link.port),
    await createIdentifiedGuest(machine, 'guest-b', link.port),
  ];
  const [fromA, fromB] = [new Reports(link, a), new Reports(link, b)];

  // A is started first, and is held up until B has reported.
  const controlA = await startIdentifiedGuest(machine, a);
  controlA.close();
  const release = await holdUp(machine, a);
  const controlB = await startIdentifiedGuest(machine, b);
  controlB.close();
  const reportB = await fromB.first();
  expect(fromA.all).toEqual([]);
  release();
  const reportA = await fromA.first();

  expect(reportA.mac).toBe(a.prepared.endpoints.mac);
  expect(reportB.mac).toBe(b.prepared.endpoints.mac);
  // The addresses went to whoever asked first, which is the order of the reports and not that of the starts.
  expect([reportB.ip, reportA.ip]).toEqual(['10.0.2.15', '10.0.2.16']);
  const sessionA = await loginAt(a.target, segment.ssh(reportA.ip));
  const sessionB = await loginAt(b.target, segment.ssh(reportB.ip));
  expect(await inGuest(sessionA, 'hostname')).toBe('guest-a');
  expect(await inGuest(sessionB, 'hostname')).toBe('guest-b');
  const swapped = openSession({ ...a.target, ...segment.ssh(reportB.ip) }, LIMIT);
  await expect(swapped).rejects.toMatchObject({ kind: 'hostKey' });

  await expectForgeryRefused(link, sessionB, a, b);
  expect(fromA.all.every(({ mac, ip }) => mac === reportA.mac && ip === reportA.ip)).toBe(true);
  expect(fromB.all.every(({ mac, ip }) => mac === reportB.mac && ip === reportB.ip)).toBe(true);
  sessionA.close();
  sessionB.close();
});

/** Stops the VM's process; the function that is returned lets it go on. */
async function holdUp({ backend }: QemuMachine, { bundle }: IdentifiedGuest): Promise<() => void> {
  const found = await backend.processes.find(bundle);
  if (found.state !== 'present') throw new Error(`the VM is ${found.state}`);
  const pids = found.processes.map(({ pid }) => pid);
  for (const pid of pids) process.kill(pid, 'SIGSTOP');
  return () => {
    for (const pid of pids) process.kill(pid, 'SIGCONT');
  };
}

const loginAt = (target: SshTarget, endpoint: { host: string; port: number }): Promise<SshSession> =>
  waitForSsh({ ...target, ...endpoint }, BOOT);

async function inGuest(session: SshSession, command: string): Promise<string> {
  return (await session.exec(command, RUN)).stdout.trim();
}

/** What somebody who took over guest B, and so knows its token, can tell of guest A: nothing. */
async function expectForgeryRefused(
  link: GuestLink,
  sessionB: SshSession,
  a: IdentifiedGuest,
  b: IdentifiedGuest,
): Promise<void> {
  const post = async (token: string, mac: string): Promise<string> => {
    const report: GuestReport = { mac, ip: '10.0.2.99', event: 'State', state: 'Finished' };
    const answer = await sessionB.exec(
      `busybox wget -S -O - --header 'Authorization: Bearer ${token}' --post-data '${JSON.stringify(report)}' ${b.prepared.endpoints.notifyUrl}/notify 2>&1`,
      RUN,
    );
    return /HTTP\/1\.1 (\d+)/.exec(answer.stdout)?.[1] ?? answer.stdout;
  };
  const before = link.counts();
  expect(await post(b.token, a.prepared.endpoints.mac)).toBe('401');
  expect(await post('00'.repeat(32), a.prepared.endpoints.mac)).toBe('401');
  expect(await post('00'.repeat(32), b.prepared.endpoints.mac)).toBe('401');
  expect(link.counts()).toMatchObject({ unauthorized: before.unauthorized + 3, accepted: before.accepted });
}
