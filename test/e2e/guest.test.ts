import { join } from 'node:path';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { GuestRunnerState, GuestStatus } from '../../guest/protocol.ts';
import { makeIdentity } from '../../node-daemon/seed/identity.ts';
import { seedImage } from '../../node-daemon/seed/seed-disk.ts';
import type { SshSession } from '../../node-daemon/ssh/session.ts';
import { until } from '../harness/until.ts';
import { type GuestSeed, GuestVm, inGuest, makeSeed, ReportSink } from './guest-vm.ts';

const TEMPLATE = join(inject('templatesDir'), 'debian');
const DISK_BYTES = 6 * 1024 ** 3;

let vm: GuestVm;
let seed: GuestSeed;
let session: SshSession;
const sink = new ReportSink();

beforeAll(async () => {
  seed = makeSeed(await sink.listen());
  vm = await GuestVm.start({ templateDir: TEMPLATE, seed: await seedImage(seed), diskBytes: DISK_BYTES });
  session = await vm.login(seed.identity);
});
afterAll(async () => {
  session?.close();
  sink.close();
  await vm?.destroy();
});

describe('a guest with a seed disk', () => {
  test('is the VM that the seed describes, seen from inside', async () => {
    expect(await inGuest(session, 'hostname; cat /etc/hostname')).toBe('guest-under-test\nguest-under-test');
    const identity = JSON.parse(await inGuest(session, 'cat /run/shoesvz/identity.json'));
    const { uid, attempt, hostname } = seed.config;
    expect(identity).toEqual({ uid, attempt, hostname });
    expect(await inGuest(session, 'cat ~/.ssh/authorized_keys')).toBe(seed.authorizedKeys.trim());
    expect(await inGuest(session, 'id -un; id -u; sudo id -u')).toBe('runner\n1000\n0');
  });

  test('lets nobody in but the holder of its own key', async () => {
    const hostKey = seed.hostKey.publicKey;
    const stranger = makeIdentity().runnerKey.privateKey;
    await expect(vm.tryLogin({ privateKey: stranger, hostKey })).rejects.toMatchObject({ kind: 'auth' });
  });

  test('keeps the seed from its user', async () => {
    const disk = await inGuest(session, 'grep -l shoesvz-seed /sys/block/*/serial | cut -d / -f 4');
    await expect(inGuest(session, `head -c 512 /dev/${disk}`)).rejects.toThrow('Permission denied');
    const readable =
      'find /run /var /tmp /home /etc -readable -type f 2>/dev/null | xargs grep -ls c0ffeec0ffee || true';
    expect(await inGuest(session, readable)).toBe('');
    expect(await inGuest(session, `sudo head -c 4096 /dev/${disk} | grep -c c0ffeec0ffee`)).toBe('1');
  });

  test('has its filesystem grown to the disk', async () => {
    const kibibytes = Number(await inGuest(session, 'df --output=size / | tail -n 1'));
    expect(kibibytes * 1024).toBeGreaterThan(DISK_BYTES * 0.95);
  });

  test('tells the host that it is ready, with its token and its card', async () => {
    await until('the report that the guest is ready', async () => sink.reports.length > 0);
    expect(sink.reports[0]).toEqual({
      authorization: `Bearer ${seed.config.token}`,
      report: { event: 'Ready', state: 'NoRunner', ip: '10.0.2.15', mac: '52:54:00:12:34:56' },
    });
    expect(await vm.serial()).toContain('shoesvz: sshd listening');
  });

  test('answers /health to everyone and /status to the holder of the token', async () => {
    const health = await fetch(`${vm.agentUrl}/health`);
    expect([health.status, await health.json()]).toEqual([200, { ok: true }]);
    expect((await fetch(`${vm.agentUrl}/status`)).status).toBe(401);
    expect((await fetch(`${vm.agentUrl}/exec`, { method: 'POST', body: 'id' })).status).toBe(404);
    const { uid, attempt, hostname } = seed.config;
    expect(await status()).toMatchObject({ uid, attempt, hostname, state: 'NoRunner', ip: '10.0.2.15' });
    expect((await status()).bootId).toBe(await inGuest(session, 'cat /proc/sys/kernel/random/boot_id'));
  });

  test('has what a job needs: name resolution of itself, packages, certificates, kernel modules', async () => {
    expect(await inGuest(session, 'getent hosts $(hostname) | wc -l')).toBe('1');
    expect(await inGuest(session, 'dpkg --audit; dpkg -s bash | grep Status')).toBe(
      'Status: install ok installed',
    );
    expect(await inGuest(session, 'sudo apt-get check -qq && echo whole')).toBe('whole');
    expect(await inGuest(session, 'grep -c BEGIN /etc/ssl/certs/ca-certificates.crt')).toMatch(
      /^[1-9][0-9]+$/,
    );
    expect(await inGuest(session, 'sudo modprobe overlay && lsmod | grep -c ^overlay')).toBe('1');
    expect(await inGuest(session, 'cat /etc/machine-id')).toMatch(/^[0-9a-f]{32}$/);
    expect(await inGuest(session, 'which curl git tar unzip zstd')).toContain('/usr/bin/git');
    expect(await inGuest(session, 'sudo find / -xdev -nouser -o -xdev -nogroup | head')).toBe('');
  });

  test('follows an Actions runner through its life', async () => {
    const states = (): GuestRunnerState[] => sink.reports.map(({ report }) => report.state);
    const reached = (state: GuestRunnerState) =>
      until(
        `the state ${state}`,
        async () => states().at(-1) === state,
        () => states().join(),
      );
    const fake = '#!/bin/bash\nwhile [ ! -e $0.stop ]; do sleep 0.1; done\n';
    await inGuest(session, 'mkdir -p actions-runner/bin');
    for (const program of ['Runner.Listener', 'Runner.Worker']) {
      await inGuest(
        session,
        `cat > actions-runner/bin/${program}; chmod 755 actions-runner/bin/${program}`,
        Buffer.from(fake),
      );
    }
    const start = (command: string) =>
      inGuest(session, `cd actions-runner; setsid ${command} > /dev/null 2>&1 < /dev/null &`);
    await inGuest(session, 'echo \'{"agentName":"runner-7"}\' > actions-runner/.runner');
    await reached('Starting');
    await start('./bin/Runner.Listener run');
    await reached('Idle');
    await start('./bin/Runner.Worker spawnclient 1 2');
    await reached('Running');
    expect(await status()).toMatchObject({ state: 'Running', runnerName: 'runner-7' });
    await inGuest(
      session,
      'touch actions-runner/bin/Runner.Worker.stop actions-runner/bin/Runner.Listener.stop',
    );
    await reached('Finished');
    expect(sink.reports.at(-1)?.report).toMatchObject({ event: 'State', runnerName: 'runner-7' });
  });

  test('installs a seed wholly or not at all', async () => {
    const whole = await seedImage(makeSeed(1));
    const bytes = whole.subarray(0, whole.findLastIndex((byte) => byte !== 0) + 1);
    const damaged = fc.sample(
      fc.oneof(
        fc.nat({ max: bytes.length - 1 }).map((length) => bytes.subarray(0, length)),
        fc
          .tuple(fc.nat({ max: bytes.length - 1 }), fc.integer({ min: 1, max: 255 }))
          .map(([offset, change]) => {
            const altered = Buffer.from(bytes);
            altered.writeUInt8(altered.readUInt8(offset) ^ change, offset);
            return altered;
          }),
      ),
      12,
    );
    expect(await installSeed(whole)).toBe('0 identity.json host_key authorized_keys');
    for (const seedBytes of damaged) {
      expect(await installSeed(seedBytes), seedBytes.toString('base64')).toMatch(
        /^(1|0 identity\.json host_key authorized_keys)$/,
      );
    }
  });

  test('is the same VM after it restarted, and turns off when asked', async () => {
    const { bootId } = await status();
    await session.exec('sudo reboot', { timeoutMs: 10_000, maxOutputBytes: 1024 }).catch(() => undefined);
    await session.closed;
    await until('the restarted guest to answer', async () => {
      const now = await status().catch(() => undefined);
      return now !== undefined && now.bootId !== bootId;
    });
    session = await vm.login(seed.identity);
    expect(JSON.parse(await inGuest(session, 'cat /run/shoesvz/identity.json')).uid).toBe(seed.config.uid);
    await vm.powerOff();
  });
});

async function status(): Promise<GuestStatus> {
  const headers = { authorization: `Bearer ${seed.config.token}` };
  const response = await fetch(`${vm.agentUrl}/status`, { headers, signal: AbortSignal.timeout(5_000) });
  if (response.status !== 200) throw new Error(`/status: ${response.status}`);
  return (await response.json()) as GuestStatus;
}

/** Runs the boot's installer on other bytes and another root; its exit code and what it installed there. */
async function installSeed(bytes: Buffer): Promise<string> {
  const script = `
    cat > /tmp/seed.img
    root=$(mktemp -d)
    sudo mkdir -p $root/etc $root/run/shoesvz $root/proc/sys/kernel $root/home/runner
    sudo cp /etc/passwd $root/etc/
    code=0
    sudo /usr/lib/shoesvz/identify /tmp/seed.img $root > /dev/null 2>&1 || code=$?
    cd $root
    echo $code $(sudo find . -name identity.json -o -name '*host_key*' -o -name authorized_keys | sed -e 's#.*/##' -e s/dropbear_ed25519_// | sort -r)
    cd / && sudo rm -rf $root`;
  const [code, ...installed] = (await inGuest(session, script, bytes)).split(' ');
  const order = ['identity.json', 'host_key', 'authorized_keys'];
  return [code, ...order.filter((name) => installed.includes(name))].join(' ');
}
