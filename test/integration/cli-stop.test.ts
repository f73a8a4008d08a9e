import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { z } from 'zod';
import type { Host } from '../../crds/host.ts';
import { API_VERSION, SYSTEM_NAMESPACE } from '../../crds/meta.ts';
import { LINUX_HOSTS, RUNNERS } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import { loadKubeClient } from '../../kube/client.ts';
import { LEASES } from '../../kube/lease.ts';
import { Command, type Ended, runCommand } from '../harness/command.ts';
import { testClient, uniqueName } from '../harness/control-plane.ts';
import { processesNaming } from '../harness/processes.ts';
import { until } from '../harness/until.ts';
import { Scratch, sharedKubeconfig } from './cli-refusal.ts';

let scratch: Scratch;
beforeEach(async () => {
  scratch = await Scratch.create();
});
afterEach(() => scratch.close());

function start(args: readonly string[], env: Record<string, string> = {}): Command {
  const command = new Command(args, env);
  scratch.onClose(() => command.kill());
  return command;
}

const Processes = z.object({ processes: z.array(z.object({ name: z.string(), pid: z.number() })) });

async function pidOf(program: string, dataDir: string): Promise<number> {
  const { processes } = Processes.parse(JSON.parse(await readFile(join(dataDir, 'processes.json'), 'utf8')));
  const found = processes.find(({ name }) => name === program);
  if (found === undefined) throw new Error(`no ${program} runs`);
  return found.pid;
}

/** All that a daemon writes are lines of JSON. */
const levels = (text: string): number[] =>
  text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line).level);

describe('up', () => {
  const dataDir = (): string => scratch.path('data');

  test('that is interrupted before it is ready ends with the exit code of the signal, and leaves nothing', async () => {
    const up = start(['up', '--data-dir', dataDir()]);
    await until('kube-apiserver', async () => (await processesNaming(`${dataDir()}/pki/`)).length > 0);
    up.interrupt();
    expect(await up.ended).toEqual({
      code: 130,
      signal: null,
      stdout: '',
      stderr: 'shoes-vz: stopped by SIGINT\n',
    });
    expect(await processesNaming(scratch.dir)).toEqual([]);
    expect(await scratch.tree()).toEqual([]);
  });

  test.each(['kube-apiserver', 'etcd'])('whose %s dies ends as a whole, and says why', async (program) => {
    const up = start(['up', '--data-dir', dataDir()]);
    await up.says(/^ready$/);
    const pid = await pidOf(program, dataDir());
    process.kill(pid, 'SIGKILL');
    const { code, signal, stderr } = await up.ended;
    expect({ code, signal }).toEqual({ code: 1, signal: null });
    expect(stderr).toMatch(new RegExp(`^shoes-vz: ${program} was ended by SIGKILL.*\\n$`));
    expect(await processesNaming(scratch.dir)).toEqual([]);
  });

  test('goes on when its terminal goes away, and keeps its data for its owner only', async () => {
    const up = start(['up', '--data-dir', dataDir()]);
    await up.says(/^ready$/);
    up.closeOutput();
    up.signal('SIGTERM');
    expect(await up.ended).toMatchObject({ code: 0, signal: null });
    expect(await processesNaming(scratch.dir)).toEqual([]);
    const modes = await Promise.all(['data', 'data/logs', 'data/pki'].map((name) => scratch.mode(name)));
    expect(modes).toEqual([0o700, 0o700, 0o700]);
    expect(await scratch.mode('data/logs/shoes-vz.log')).toBe(0o600);
  });
});

describe('down', () => {
  test('gives up at its timeout, names what is in the way, and leaves up as it is', async () => {
    const dataDir = scratch.path('data');
    // No QEMU in this PATH: no VM is wanted here.
    const up = start(['up', '--data-dir', dataDir], { PATH: '/nonexistent' });
    await up.says(/^ready$/);
    expect(up.output).toMatch(
      /^no VM can run yet: install qemu-system-\w+ qemu-utils \(apt-get install, as root\)$/m,
    );
    expect(up.output).toMatch(/^no template yet: shoes-vz template build linux --host-root \S+$/m);
    const client = loadKubeClient({
      kubeconfigPath: join(dataDir, 'kubeconfig'),
      userAgent: 'shoes-vz-test/0',
    });
    scratch.onClose(() => client.close());
    const runners = client.resources<Runner>(RUNNERS);
    const held = await runners.create({
      apiVersion: API_VERSION,
      kind: 'Runner',
      metadata: { name: 'held', namespace: 'default', finalizers: ['example.com/held'] },
      spec: { templateName: 'none', completion: 'Never', startAttempts: 3 },
    });
    const down = (): Promise<Ended> => runCommand(['down', '--data-dir', dataDir, '--timeout', '2']);
    expect(await down()).toEqual({
      code: 1,
      signal: null,
      stdout: 'deleting 1 Runner\n',
      stderr:
        'shoes-vz: gave up waiting: Runners are still there: default/held; see kubectl describe runner\n',
    });
    const dying = await runners.get(held.metadata);
    expect(dying?.metadata.deletionTimestamp).toBeDefined();
    const { resourceVersion } = dying?.metadata ?? held.metadata;
    await runners.patch(held.metadata, resourceVersion, { metadata: { finalizers: [] } });
    expect(await runCommand(['down', '--data-dir', dataDir])).toMatchObject({ code: 0, stderr: '' });
    expect(await up.ended).toMatchObject({ code: 0, signal: null, stderr: '' });
    expect(await processesNaming(scratch.dir)).toEqual([]);
  });
});

describe('the controller', () => {
  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('ends in order at %s', async (signal) => {
    const controller = start(['controller', '--kubeconfig', sharedKubeconfig(), '--metrics-port', '0']);
    await controller.says(/"msg":"the controller is ready"/);
    controller.signal(signal);
    const { code, stdout, stderr } = await controller.ended;
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
    expect(Math.max(...levels(stderr))).toBeLessThan(40);
  });
});

describe('the node daemon', () => {
  test("that waits for a dead machine's Lease ends at once, without having become a host", async () => {
    const client = testClient();
    scratch.onClose(() => client.close());
    const name = uniqueName('host');
    const lastYear = '2025-01-01T00:00:00.000000Z';
    await client.resources(LEASES).create({
      apiVersion: 'coordination.k8s.io/v1',
      kind: 'Lease',
      metadata: { namespace: SYSTEM_NAMESPACE, name },
      spec: {
        holderIdentity: 'dead',
        leaseDurationSeconds: 3600,
        acquireTime: lastYear,
        renewTime: lastYear,
      },
    });
    const flags = {
      '--kubeconfig': sharedKubeconfig(),
      '--host-root': scratch.path('root'),
      '--host-name': name,
      '--state-file': scratch.path('state.json'),
      '--guest-link-port': '0',
      '--metrics-port': '0',
    };
    const daemon = start(['node-daemon', ...Object.entries(flags).flat()]);
    await daemon.says(/the name belongs to a machine that seems dead; waiting for its Lease to end/);
    daemon.signal('SIGTERM');
    const { code, stderr } = await daemon.ended;
    expect(code).toBe(143);
    expect(stderr).toMatch(/\nshoes-vz: stopped by SIGTERM\n$/);
    expect(await client.resources<Host>(LINUX_HOSTS).get({ name })).toBeUndefined();
    expect(await scratch.tree()).toEqual([]);
  });
});

test('a reader that goes away is no failure', async () => {
  const child = spawn('sh', ['-c', '"$0" "$1" up --help | true', process.execPath, 'cli/main.ts'], {
    cwd: join(import.meta.dirname, '..', '..'),
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let stderr = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  expect(await once(child, 'close')).toEqual([0, null]);
  expect(stderr).toBe('');
});
