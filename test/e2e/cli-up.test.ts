import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest';
import { z } from 'zod';
import { recallAccelerator } from '../../cli/accelerator-cache.ts';
import { cacheDirectory } from '../../cli/control-plane/binaries-cache.ts';
import { placeTemplate } from '../../cli/template/place.ts';
import { Command, type Ended, runCommand } from '../harness/command.ts';
import { processesNaming } from '../harness/processes.ts';
import { until } from '../harness/until.ts';

const execute = promisify(execFile);

/** `<uid>.1.bundle` */
const bundleOf = (uid: string): string => `${uid}.1.bundle`;

/** A place for one system, with the template `debian` in its host root. */
class Place {
  readonly dir: string;
  readonly dataDir: string;
  readonly hostRoot: string;
  readonly #commands: Command[] = [];

  private constructor(dir: string) {
    this.dir = dir;
    this.dataDir = join(dir, 'data');
    this.hostRoot = join(dir, 'root');
  }

  static async create(): Promise<Place> {
    const place = new Place(await mkdtemp(join(tmpdir(), 'svz-')));
    await placeTemplate(join(inject('templatesDir'), 'debian'), join(place.hostRoot, 'templates'));
    await recallAccelerator(cacheDirectory(process.env), place.hostRoot);
    return place;
  }

  /** Returns when it is ready. */
  async up(...flags: string[]): Promise<Command> {
    const command = new Command(['up', '--data-dir', this.dataDir, ...flags]);
    this.#commands.push(command);
    await command.says(/^ready$/);
    return command;
  }

  async down(): Promise<Ended> {
    return await runCommand(['down', '--data-dir', this.dataDir]);
  }

  /** The real kubectl, used as `up` says. */
  async kubectl(...args: string[]): Promise<string> {
    const env = { PATH: process.env.PATH, HOME: this.dir, KUBECONFIG: join(this.dataDir, 'kubeconfig') };
    return (await execute(inject('kubectl'), args, { env, timeout: 120_000 })).stdout;
  }

  async apply(manifest: string): Promise<void> {
    const file = join(this.dir, 'manifest.yaml');
    await writeFile(file, manifest);
    await this.kubectl('apply', '-f', file);
  }

  /** A Runner that stays. Returns when its script has run. */
  async runner(name: string): Promise<Runner> {
    await this.apply(RUNNER.replaceAll('NAME', name));
    await this.kubectl('wait', '--for=condition=Ready', '--timeout=110s', `runner/${name}`);
    return Runner.parse(JSON.parse(await this.kubectl('get', 'runner', name, '-o', 'json')));
  }

  /** Boot id of the guest, asked over SSH with the Runner's own key. */
  async bootId({ metadata, status }: Runner): Promise<string> {
    const knownHosts = join(this.dir, 'known-hosts');
    await writeFile(knownHosts, `[${status.ssh.host}]:${status.ssh.port} ${status.ssh.hostKey}\n`);
    const key = join(this.hostRoot, 'runners', bundleOf(metadata.uid), 'id_ed25519');
    const options = ['BatchMode=yes', 'StrictHostKeyChecking=yes', `UserKnownHostsFile=${knownHosts}`];
    const args = [
      ...['-i', key, '-p', String(status.ssh.port)],
      ...options.flatMap((option) => ['-o', option]),
      `${status.ssh.user}@${status.ssh.host}`,
      'cat /proc/sys/kernel/random/boot_id',
    ];
    return (await execute('ssh', args, { timeout: 60_000 })).stdout.trim();
  }

  bundles(): Promise<string[]> {
    return readdir(join(this.hostRoot, 'runners'));
  }

  async close(): Promise<void> {
    for (const command of this.#commands) await command.kill();
    for (const pid of await processesNaming(this.dir)) process.kill(pid, 'SIGKILL');
    await until('all processes to end', async () => (await processesNaming(this.dir)).length === 0);
    await rm(this.dir, { recursive: true, force: true });
  }
}

const Runner = z.object({
  metadata: z.object({ uid: z.string() }),
  spec: z.object({ binding: z.object({ hostName: z.string() }) }),
  status: z.object({
    setup: z.object({ exitCode: z.number(), outputTail: z.string() }),
    ssh: z.object({ host: z.string(), port: z.number(), user: z.string(), hostKey: z.string() }),
  }),
});
type Runner = z.infer<typeof Runner>;

const ARCH = process.arch === 'arm64' ? 'arm64' : 'amd64';

const KINDS = `
apiVersion: shoesvz.dev/v1alpha1
kind: RunnerClass
metadata:
  name: tiny
  annotations:
    shoesvz.dev/is-default-class: 'true'
spec:
  cpu: 1
  memory: 384Mi
  disk: 1Gi
---
apiVersion: shoesvz.dev/v1alpha1
kind: Template
metadata:
  name: linux
spec:
  os: linux
  arch: ${ARCH}
  ssh: { user: runner, port: 22 }
  guestAgent: { enabled: true, port: 8080 }
  source: { bundle: { name: debian } }
`;

const RUNNER = `
apiVersion: shoesvz.dev/v1alpha1
kind: Runner
metadata:
  name: NAME
  namespace: default
spec:
  templateName: linux
  completion: Never
  setupScript:
    inline: echo from NAME
`;

const Processes = z.object({ processes: z.array(z.object({ name: z.string(), pid: z.number() })) });

/** Pids of etcd and kube-apiserver, from the note of a start that has not ended in order. */
async function controlPlaneOf(dataDir: string): Promise<number[]> {
  const text = await readFile(join(dataDir, 'processes.json'), 'utf8');
  const { processes } = Processes.parse(JSON.parse(text));
  expect(processes.map(({ name }) => name)).toEqual(['etcd', 'kube-apiserver']);
  return processes.map(({ pid }) => pid);
}

const isRunning = (pid: number): boolean => existsSync(`/proc/${pid}`);

describe('up', () => {
  let place: Place;
  beforeAll(async () => {
    place = await Place.create();
  });
  afterAll(() => place.close());

  let up: Command;
  let runner: Runner;
  let bootId: string;
  let vm: number[];

  test('says how to use kubectl when it is ready, and a Runner is declared with it', async () => {
    up = await place.up('--host-root', place.hostRoot, '--host-name', 'first-host');
    const { dataDir } = place;
    await up.says(/kubectl get shoesvz -A/);
    expect(up.output.split('\n')).toEqual([
      expect.stringMatching(/^API server {3}https:\/\/127\.\S+:\d+$/),
      `host         first-host, templates in ${place.hostRoot}/templates`,
      `log          ${dataDir}/logs/shoes-vz.log`,
      'ready',
      '',
      `  export KUBECONFIG=${dataDir}/kubeconfig`,
      '  kubectl get shoesvz -A',
      '',
    ]);
    await place.apply(KINDS);
    runner = await place.runner('kept');
    expect(runner.status.setup).toEqual({ exitCode: 0, outputTail: 'from kept\n' });
    expect(runner.spec.binding.hostName).toBe('first-host');
    bootId = await place.bootId(runner);
    vm = await processesNaming(bundleOf(runner.metadata.uid));
    expect(vm).toHaveLength(1);
  });

  test('is refused a second time in its data directory, in one line', async () => {
    expect(await runCommand(['up', '--data-dir', place.dataDir])).toEqual({
      code: 1,
      signal: null,
      stdout: '',
      stderr: `shoes-vz: --data-dir: ${place.dataDir} is in use by process ${up.pid}; stop that one, or choose another directory\n`,
    });
  });

  test('ends in order at Ctrl-C, with exit code 0, and the VM lives on', async () => {
    const controlPlane = await controlPlaneOf(place.dataDir);
    expect(controlPlane.every(isRunning)).toBe(true);
    up.interrupt();
    const { code, signal, stdout, stderr } = await up.ended;
    expect({ code, signal, stderr }).toEqual({ code: 0, signal: null, stderr: '' });
    expect(stdout).toMatch(/^SIGINT: stopping; VMs run on, and the next up adopts them$/m);
    expect(controlPlane.filter(isRunning)).toEqual([]);
    expect(await processesNaming(place.dir)).toEqual(vm);
    expect(await place.bootId(runner)).toBe(bootId);
    const log = await readFile(join(place.dataDir, 'logs', 'shoes-vz.log'), 'utf8');
    const severe = log.split('\n').filter((line) => line.includes('"level":50'));
    expect(severe).toEqual([]);
  });

  test('adopts the VM at the next start, which needs no flag but the data directory', async () => {
    up = await place.up();
    const again = Runner.parse(JSON.parse(await place.kubectl('get', 'runner', 'kept', '-o', 'json')));
    expect(again).toEqual(runner);
    expect(await processesNaming(bundleOf(runner.metadata.uid))).toEqual(vm);
    expect(await place.bootId(runner)).toBe(bootId);
  });

  test('adopts it after kill -9, too, and leaves no API server or etcd of before', async () => {
    const before = await controlPlaneOf(place.dataDir);
    expect(before.every(isRunning)).toBe(true);
    up.signal('SIGKILL');
    await up.ended;
    up = await place.up();
    expect(before.filter(isRunning)).toEqual([]);
    expect((await controlPlaneOf(place.dataDir)).every(isRunning)).toBe(true);
    expect(await processesNaming(bundleOf(runner.metadata.uid))).toEqual(vm);
    expect(await place.bootId(runner)).toBe(bootId);
    expect(await place.kubectl('get', 'runner', 'kept', '-o', 'jsonpath={.status.phase}')).toBe('Running');
  });

  test('is ended by down, which purges all VMs, those too that are just being made', async () => {
    await place.apply(RUNNER.replaceAll('NAME', 'late'));
    const { code, stdout, stderr } = await place.down();
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toBe('deleting 2 Runners\nall VMs are gone, and nothing runs any more\n');
    expect(await up.ended).toMatchObject({ code: 0, signal: null, stderr: '' });
    expect(await processesNaming(place.dir)).toEqual([]);
    expect(await place.bundles()).toEqual([]);
  });

  test('that was killed leaves a VM, which down on the stopped system purges', async () => {
    up = await place.up();
    const left = await place.runner('left');
    up.signal('SIGKILL');
    await up.ended;
    expect(await processesNaming(bundleOf(left.metadata.uid))).toHaveLength(1);
    const { code, stdout, stderr } = await place.down();
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^deleting 1 Runner$/m);
    expect(stdout).toMatch(/^all VMs are gone, and nothing runs any more$/m);
    expect(await processesNaming(place.dir)).toEqual([]);
    expect(await place.bundles()).toEqual([]);
  });

  test('finds data, templates and port again after down', async () => {
    up = await place.up();
    const kinds = await place.kubectl('get', 'runnerclass,template,linuxhost,runner', '-A', '-o', 'name');
    expect(kinds.trim().split('\n')).toEqual([
      'runnerclass.shoesvz.dev/tiny',
      'template.shoesvz.dev/linux',
      'linuxhost.shoesvz.dev/first-host',
    ]);
    up.signal('SIGTERM');
    expect(await up.ended).toMatchObject({ code: 0, signal: null });
  });
});

const Report = z.strictObject({
  runner: z.string(),
  host: z.string(),
  driver: z.string(),
  accelerator: z.enum(['kvm', 'tcg']),
  phases: z.array(z.string()),
  timings: z.strictObject({
    cloneMs: z.int().nonnegative(),
    bootToSshMs: z.int().positive(),
    setupMs: z.int().nonnegative(),
    totalMs: z.int().positive(),
  }),
  setup: z.strictObject({ exitCode: z.literal(0), output: z.string() }),
});

describe('demo', () => {
  let dir: string;
  let env: Record<string, string>;
  beforeAll(async () => {
    dir = await mkdtemp(join('/tmp', 'd-'));
    env = { TMPDIR: dir };
  });
  afterEach(async () => {
    expect(await processesNaming(dir)).toEqual([]);
    expect(await readdir(dir)).toEqual([]);
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  test('--json ends with one JSON line on stdout, and leaves nothing', async () => {
    const { code, signal, stdout, stderr } = await runCommand(['demo', '--json'], env);
    expect({ code, signal }, stderr).toEqual({ code: 0, signal: null });
    expect(stdout.match(/\n/g)).toHaveLength(1);
    const report = Report.parse(JSON.parse(stdout));
    expect(report).toMatchObject({ runner: 'default/hello', driver: 'qemu' });
    expect(report.setup.output).toMatch(/^hello from hello, running Linux \d.*\ndisk: .* user: runner\n$/);
    expect(report.phases[0]).toBe('Pending');
    expect(report.phases).toContain('Running');
    expect(stderr).toMatch(/ s {2}gone +\d+ ms after its deletion/);
  });

  test('that is interrupted while its VM boots burns it, and leaves nothing', async () => {
    const command = new Command(['demo'], env);
    await command.says(/ s {2}booting /);
    expect(await processesNaming(dir)).not.toEqual([]);
    command.interrupt();
    const { code, signal, stdout, stderr } = await command.ended;
    expect({ code, signal }, stdout).toEqual({ code: 130, signal: null });
    expect(stdout).toMatch(/SIGINT: ending what was begun; a second one ends at once, and leaves it$/m);
    expect(stderr).toBe('shoes-vz: stopped by SIGINT\n');
  });

  test('whose API server dies says so, ends the VM all the same, and keeps the logs', async () => {
    const command = new Command(['demo'], env);
    await command.says(/ s {2}booting /);
    const [apiserver] = await processesNaming(`${dir}/`).then(async (pids) => {
      const names = await Promise.all(pids.map((pid) => readFile(`/proc/${pid}/comm`, 'utf8')));
      return pids.filter((_, index) => names[index]?.startsWith('kube-apiserver'));
    });
    if (apiserver === undefined) throw new Error('there is no API server');
    process.kill(apiserver, 'SIGKILL');
    const { code, stdout, stderr } = await command.ended;
    expect(code).toBe(1);
    expect(stderr).toMatch(/^shoes-vz: kube-apiserver was ended by SIGKILL.*\n$/);
    const kept = / kept +(\S+), with logs in logs\/$/m.exec(stdout)?.[1];
    if (kept === undefined) throw new Error(`nothing was kept:\n${stdout}`);
    expect(existsSync(join(kept, 'logs', 'shoes-vz.log'))).toBe(true);
    await rm(kept, { recursive: true });
  });
});
