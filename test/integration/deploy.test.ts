import { execFile } from 'node:child_process';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { type ControlPlane, startControlPlane } from '../../cli/control-plane/control-plane.ts';
import { GENERATED_CRDS } from '../../cli/control-plane/crds.ts';
import { VERSION } from '../../cli/version.ts';
import { Command } from '../harness/command.ts';
import { freePort } from '../harness/ports.ts';
import { only, Scratch } from './cli-refusal.ts';

const execute = promisify(execFile);
const ROOT = join(import.meta.dirname, '..', '..');
const NAMESPACE = 'shoesvz-system';
const TIMEOUT_MS = 60_000;

let scratch: Scratch;
let controlPlane: ControlPlane;
/** What the API server and kubectl said of the first application. */
let applied: { readonly stdout: string; readonly stderr: string };

/** A cluster that has nothing of ours yet. */
beforeAll(async () => {
  scratch = await Scratch.create();
  controlPlane = await startControlPlane({
    dataDir: scratch.path('plane'),
    unsafeNoFsync: true,
    log: () => undefined,
  });
  scratch.onClose(() => controlPlane.stop());
  applied = await apply();
});
afterAll(() => scratch.close());

async function kubectl(...args: string[]): Promise<{ readonly stdout: string; readonly stderr: string }> {
  const env = {
    ...process.env,
    KUBECONFIG: controlPlane.kubeconfigPath,
    KUBECACHEDIR: scratch.path('kubectl-cache'),
  };
  return await execute(controlPlane.kubectl, args, { cwd: ROOT, env, timeout: TIMEOUT_MS });
}

const apply = () => kubectl('apply', '--server-side', '-k', 'deploy');

interface Container {
  readonly image: string;
  readonly args: readonly string[];
}

interface Deployment {
  readonly spec: {
    readonly replicas: number;
    readonly template: { readonly spec: { readonly containers: readonly Container[] } };
  };
}

const deployment = async (): Promise<Deployment> =>
  JSON.parse(
    (await kubectl('get', 'deployment', 'shoes-vz-controller', '-n', NAMESPACE, '-o', 'json')).stdout,
  );

/** Each test starts several processes, on a machine that may do ten other things. */
const PROCESSES = { timeout: 240_000 };

describe('deploy/', PROCESSES, () => {
  test('is accepted whole, without a warning, and again without a change', async () => {
    expect(applied.stderr).toBe('');
    const lines = applied.stdout.trimEnd().split('\n');
    expect(lines.every((line) => line.endsWith(' serverside-applied'))).toBe(true);
    const generations = async () =>
      (await kubectl('get', 'deployments,poddisruptionbudgets,crds', '-A', '-o', 'json')).stdout.match(
        /"(uid|generation)": .*/g,
      );
    const before = await generations();
    expect((await apply()).stderr).toBe('');
    expect(await generations()).toEqual(before);
  });

  test('holds every manifest there is, and every kind', async () => {
    const documents = [...['namespace', 'controller'], ...['rbac/controller', 'rbac/node-daemon']].map(
      async (name) => parseAllDocuments(await readFile(join(ROOT, 'deploy', `${name}.yaml`), 'utf8')).length,
    );
    const crds = (await readdir(GENERATED_CRDS)).filter((name) => name.endsWith('.yaml'));
    const total = (await Promise.all(documents)).reduce((sum, count) => sum + count, crds.length);
    expect(applied.stdout.trimEnd().split('\n')).toHaveLength(total);
    const files = (await readdir(join(ROOT, 'deploy'), { recursive: true })).filter((name) =>
      name.endsWith('.yaml'),
    );
    expect(files.sort()).toEqual([
      'controller.yaml',
      'kustomization.yaml',
      'namespace.yaml',
      'rbac/controller.yaml',
      'rbac/node-daemon.yaml',
    ]);
  });

  test('names its image once, by a placeholder and this version', async () => {
    const { containers } = (await deployment()).spec.template.spec;
    expect(only(containers).image).toBe(`registry.example/shoes-vz:${VERSION}`);
  });

  test('makes Pods that the namespace admits, which enforces the restricted standard', async () => {
    const { template } = (await deployment()).spec;
    const pod = async (spec: object): Promise<string> => {
      const metadata = { name: 'as-the-deployment-makes-them', namespace: NAMESPACE };
      return await scratch.file(
        'pod.json',
        JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata, spec }),
      );
    };
    expect(await kubectl('create', '--dry-run=server', '-f', await pod(template.spec))).toEqual({
      stdout: 'pod/as-the-deployment-makes-them created (server dry run)\n',
      stderr: '',
    });
    const asRoot = await pod({ ...template.spec, securityContext: {} });
    await expect(kubectl('create', '--dry-run=server', '-f', asRoot)).rejects.toThrow(/violates PodSecurity/);
  });

  test('runs: as many replicas as it says, with its arguments and the rights of its ServiceAccount', async () => {
    const { replicas, template } = (await deployment()).spec;
    const { args } = only(template.spec.containers);
    expect(replicas).toBe(2);
    const kubeconfig = await serviceAccountKubeconfig('shoes-vz-controller');
    const start = async (): Promise<Command> => {
      // Pods have an address each; these share one.
      const port = `--metrics-port=${await freePort()}`;
      const own = args.map((arg) => (arg.startsWith('--metrics-port=') ? port : arg));
      const command = new Command([...own, '--kubeconfig', kubeconfig]);
      scratch.onClose(() => command.kill());
      return command;
    };
    await (await start()).says(/"msg":"the controller is ready"/);
    await (await start()).says(/"msg":"another controller leads; this one waits"/);
  });
});

/** As a Pod has it: a token of the ServiceAccount, and nothing else. */
async function serviceAccountKubeconfig(name: string): Promise<string> {
  const token = (await kubectl('create', 'token', name, '-n', NAMESPACE)).stdout.trim();
  const config = parse(await readFile(controlPlane.kubeconfigPath, 'utf8')) as { users: { user: object }[] };
  for (const entry of config.users) entry.user = { token };
  const path = scratch.path('service-account.kubeconfig');
  await writeFile(path, stringify(config), { mode: 0o600 });
  return path;
}
