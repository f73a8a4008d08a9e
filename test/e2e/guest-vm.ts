import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { promisify } from 'node:util';
import type { GuestReport, SeedConfig } from '../../guest/protocol.ts';
import { type Identity, makeIdentity } from '../../node-daemon/seed/identity.ts';
import type { SeedContents } from '../../node-daemon/seed/seed-disk.ts';
import { openSession, type SshSession, type SshTarget } from '../../node-daemon/ssh/session.ts';
import { waitForSsh } from '../../node-daemon/ssh/wait.ts';
import { loopbackAddress } from '../harness/ports.ts';
import { until } from '../harness/until.ts';

const run = promisify(execFile);
const BOOT_MS = 120_000;
const COMMAND = { timeoutMs: 60_000, maxOutputBytes: 256 * 1024 };
const SLIRP_HOST = '10.0.2.2';
const SSH_PORT = 2222;
const AGENT_PORT = 8080;

/** What a guest of the test is told and told to prove. */
export interface GuestSeed extends SeedContents {
  readonly identity: Identity;
}

export function makeSeed(notifyPort: number, config: Partial<SeedConfig> = {}): GuestSeed {
  const identity = makeIdentity();
  return {
    identity,
    config: {
      version: 1,
      hostname: 'guest-under-test',
      user: 'runner',
      token: 'c0ffee'.repeat(10),
      notifyUrl: `http://${SLIRP_HOST}:${notifyPort}`,
      agentPort: 8080,
      uid: '00000000-0000-4000-8000-00000000000a',
      attempt: 3,
      ...config,
    },
    hostKey: identity.hostKey,
    authorizedKeys: `${identity.runnerKey.publicKey}\n`,
  };
}

/** Takes a guest's reports, as the node daemon's guest link would, and keeps them. */
export class ReportSink {
  readonly reports: { readonly authorization: string | undefined; readonly report: GuestReport }[] = [];
  readonly #server: Server;

  constructor() {
    this.#server = createServer(async (request, response) => {
      const report = (await json(request)) as GuestReport;
      this.reports.push({ authorization: request.headers.authorization, report });
      response.writeHead(204).end();
    });
  }

  async listen(): Promise<number> {
    this.#server.listen(0, '127.0.0.1');
    await once(this.#server, 'listening');
    return (this.#server.address() as AddressInfo).port;
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

export interface GuestVmOptions {
  readonly templateDir: string;
  /** Contents of the seed disk; without it there is no such disk. */
  readonly seed?: Buffer | undefined;
  /** Size of the guest's disk. Default: the template's. */
  readonly diskBytes?: number | undefined;
}

/** A guest in a QEMU of the test's own, without driver and daemon. */
export class GuestVm {
  readonly agentUrl: string;
  readonly #address: string;
  readonly #dir: string;
  readonly #qemu: ChildProcess;

  private constructor(dir: string, qemu: ChildProcess, address: string) {
    this.#dir = dir;
    this.#qemu = qemu;
    this.#address = address;
    this.agentUrl = `http://${address}:${AGENT_PORT}`;
  }

  static async start(options: GuestVmOptions): Promise<GuestVm> {
    const dir = await mkdtemp(join(tmpdir(), 'gvm-'));
    const address = loopbackAddress();
    await writeFile(join(dir, 'serial.log'), '');
    const args = await qemuArgs(dir, options, address);
    const qemu = spawn('qemu-system-x86_64', args, { stdio: ['pipe', 'ignore', 'inherit'] });
    await once(qemu, 'spawn');
    return new GuestVm(dir, qemu, address);
  }

  serial(): Promise<string> {
    return readFile(join(this.#dir, 'serial.log'), 'utf8');
  }

  async awaitSerial(text: string): Promise<void> {
    let serial = '';
    const said = async (): Promise<boolean> => {
      serial = await this.serial();
      return serial.includes(text);
    };
    await until(`"${text}" on the console`, said, () => serial);
  }

  target(keys: Pick<SshTarget, 'privateKey' | 'hostKey'>): SshTarget {
    return { host: this.#address, port: SSH_PORT, user: 'runner', ...keys };
  }

  /** Returns when an authenticated command went through, with the VM's own keys. */
  login(identity: Identity): Promise<SshSession> {
    const { runnerKey, hostKey } = identity;
    const target = this.target({ privateKey: runnerKey.privateKey, hostKey: hostKey.publicKey });
    return waitForSsh(target, { timeoutMs: BOOT_MS });
  }

  tryLogin(keys: Pick<SshTarget, 'privateKey' | 'hostKey'>): Promise<SshSession> {
    return openSession(this.target(keys), { timeoutMs: 20_000 });
  }

  /** Presses the power button; returns when the machine is off. */
  async powerOff(): Promise<void> {
    const exit = once(this.#qemu, 'exit', { signal: AbortSignal.timeout(BOOT_MS) });
    this.#qemu.stdin?.write('system_powerdown\n');
    await exit;
  }

  async destroy(): Promise<void> {
    if (this.#qemu.exitCode === null && this.#qemu.signalCode === null) {
      const exit = once(this.#qemu, 'exit');
      this.#qemu.kill('SIGKILL');
      await exit;
    }
    await rm(this.#dir, { recursive: true, force: true });
  }
}

/** Runs a command in the guest and returns its output; throws where it does not exit 0. */
export async function inGuest(session: SshSession, command: string, stdin?: Buffer): Promise<string> {
  const options = stdin === undefined ? COMMAND : { ...COMMAND, stdin };
  const { exitCode, stdout, stderr } = await session.exec(command, options);
  if (exitCode !== 0) throw new Error(`${command}: exit ${exitCode}: ${stderr}`);
  return stdout.trim();
}

async function qemuArgs(
  dir: string,
  { templateDir, seed, diskBytes }: GuestVmOptions,
  address: string,
): Promise<readonly string[]> {
  const metadata = JSON.parse(await readFile(join(templateDir, 'TemplateMetadata.json'), 'utf8'));
  const disk = join(dir, 'disk.qcow2');
  const size = String(diskBytes ?? metadata.diskBytes);
  await run('qemu-img', [
    'create',
    '-q',
    '-f',
    'qcow2',
    '-b',
    join(templateDir, 'Disk.img'),
    '-F',
    'raw',
    disk,
    size,
  ]);
  const seedPath = join(dir, 'seed.img');
  if (seed !== undefined) await writeSeedFile(seedPath, seed);
  const forward = (port: number, to: number): string => `hostfwd=tcp:${address}:${port}-:${to}`;
  return [
    ...[
      '-M',
      'q35',
      '-accel',
      'tcg',
      '-cpu',
      'max',
      '-smp',
      '1',
      '-m',
      '512',
      '-nodefaults',
      '-display',
      'none',
    ],
    ...['-monitor', 'stdio', '-serial', `file:${join(dir, 'serial.log')}`],
    ...['-kernel', join(templateDir, 'kernel'), '-initrd', join(templateDir, 'initrd')],
    ...['-append', metadata.kernelArgs],
    ...['-drive', `if=none,id=disk,file=${disk},format=qcow2`, '-device', 'virtio-blk-pci,drive=disk'],
    ...['-netdev', `user,id=net,${forward(SSH_PORT, 22)},${forward(AGENT_PORT, 8080)}`],
    ...['-device', 'virtio-net-pci,netdev=net,romfile='],
    ...(seed === undefined
      ? []
      : [
          ...['-drive', `if=none,id=seed,file=${seedPath},format=raw,readonly=on`],
          ...['-device', 'virtio-blk-pci,drive=seed,serial=shoesvz-seed'],
        ]),
  ];
}

/** A block device has whole sectors, whatever the test put there. */
async function writeSeedFile(path: string, bytes: Buffer): Promise<void> {
  await writeFile(path, bytes);
  await truncate(path, Math.max(Math.ceil(bytes.length / 512) * 512, 65_536));
}
