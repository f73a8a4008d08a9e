import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { type ControlPlane, startControlPlane } from '../../cli/control-plane/control-plane.ts';
import { installCrds } from '../../cli/control-plane/crds.ts';
import { type RunningController, runController } from '../../controller/main.ts';
import { customResourceDefinition } from '../../crds/custom-resource-definition.ts';
import { KINDS } from '../../crds/kinds.ts';
import { LINUX_HOSTS, RUNNER_CLASSES, TEMPLATES } from '../../crds/resources.ts';
import { type KubeClient, loadKubeClient } from '../../kube/client.ts';
import { isForbidden } from '../../kube/errors.ts';
import type { KubeObject, ResourceType } from '../../kube/object.ts';
import { applyManifest, controllerClient, impersonating } from './controller-client.ts';
import { withBasics } from './controller-suite.ts';
import { ControllerWorld } from './controller-world.ts';

let dataDir: string;
let controlPlane: ControlPlane;
let admin: KubeClient;

const log = pino({ level: 'silent' });

async function startPlane(port?: number): Promise<void> {
  controlPlane = await startControlPlane({ dataDir, port, unsafeNoFsync: true, log: () => undefined });
}

beforeAll(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'svz-'));
  await startPlane();
  admin = loadKubeClient({ kubeconfigPath: controlPlane.kubeconfigPath, userAgent: 'shoes-vz-test/0' });
});
afterAll(async () => {
  await admin.close();
  await controlPlane.stop();
  await rm(dataDir, { recursive: true, force: true });
});

/** Why the controller does not start: one line. */
async function refusal(client: KubeClient): Promise<Error> {
  const controller = await runController({ client, log });
  const error = await controller.ready.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  await controller.stop();
  if (!(error instanceof Error)) throw new Error('the controller started');
  expect(error.message).not.toContain('\n');
  return error;
}

interface Crd extends KubeObject {
  kind: 'CustomResourceDefinition';
}

const CRDS: ResourceType<Crd> = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  plural: 'customresourcedefinitions',
  kind: 'CustomResourceDefinition',
  namespaced: false,
};

/** The CRDs as another version of shoes-vz would install them. */
async function withOtherVersion(client: KubeClient, during: () => Promise<void>): Promise<void> {
  const crds = client.resources(CRDS);
  const runner = KINDS.find(({ resource }) => resource.kind === 'Runner');
  if (runner === undefined) throw new Error('no such kind');
  const other = { ...runner, resource: { ...runner.resource, version: 'v1beta9' } };
  const object = JSON.parse(JSON.stringify(customResourceDefinition(other))) as Crd;
  await crds.create(object);
  try {
    await served(client, '/apis/shoesvz.dev');
    await during();
  } finally {
    await crds.delete(object.metadata);
    await gone(client, '/apis/shoesvz.dev');
  }
}

const isServed = async (client: KubeClient, path: string): Promise<boolean> =>
  await client.raw(path).then(
    () => true,
    () => false,
  );

async function served(client: KubeClient, path: string): Promise<void> {
  await expect.poll(async () => await isServed(client, path), { timeout: 20_000 }).toBe(true);
}

async function gone(client: KubeClient, path: string): Promise<void> {
  await expect.poll(async () => await isServed(client, path), { timeout: 20_000 }).toBe(false);
}

describe('the controller does not start, and says why in a line,', () => {
  test('without CRDs', async () => {
    expect(await refusal(admin)).toMatchObject({
      name: 'ControllerError',
      message: `the API server at ${admin.server} does not serve shoesvz.dev/v1alpha1: install the CRDs of this version of shoes-vz (crds/generated)`,
    });
  });

  test('with CRDs of another version', async () => {
    await withOtherVersion(admin, async () => {
      const { message } = await refusal(admin);
      expect(message).toContain('serves shoesvz.dev/v1beta9, and this controller needs shoesvz.dev/v1alpha1');
    });
  });

  test('with credentials that may do nothing', async () => {
    await installCrds(admin);
    const client = await impersonating(controlPlane.kubeconfigPath, dataDir, 'nobody');
    const { name, message } = await refusal(client);
    await client.close();
    expect(name).toBe('ControllerError');
    expect(message).toMatch(/forbids what the controller needs: .*cannot (list|watch) resource/);
    expect(message).toContain('deploy/rbac/controller.yaml');
  });

  test('where nothing listens', async () => {
    const client = await pointingAt('https://127.0.0.1:1');
    expect(await refusal(client)).toMatchObject({
      name: 'ApiUnreachable',
      message: 'cannot reach the API server at https://127.0.0.1:1: connection refused',
    });
    await client.close();
  });

  test('where its port for metrics is taken', async () => {
    const client = await controllerClient(admin, controlPlane.kubeconfigPath, dataDir);
    const first = await runController({ client, log, http: { port: 0 } });
    const second = runController({ client, log, http: { port: first.httpPort ?? 0 } });
    await expect(second).rejects.toMatchObject({
      name: 'HttpEndpointError',
      message: `cannot serve metrics on 127.0.0.1:${first.httpPort}: another program listens there`,
    });
    await first.stop();
    await client.close();
  });
});

describe('the rights that deploy/ gives', () => {
  test('are accepted by the API server, and let no controller read a Secret, write to a Template or delete a host', async () => {
    for (const file of ['controller', 'node-daemon']) {
      await applyManifest(admin, fileURLToPath(new URL(`../../deploy/rbac/${file}.yaml`, import.meta.url)));
    }
    const client = await controllerClient(admin, controlPlane.kubeconfigPath, dataDir);
    const secrets = client.resources({
      group: '',
      version: 'v1',
      plural: 'secrets',
      kind: 'Secret',
      namespaced: true,
    });
    await expect(secrets.get({ namespace: 'shoesvz-system', name: 'x' })).rejects.toSatisfy(isForbidden);
    const ref = { name: 'x' };
    for (const type of [TEMPLATES, RUNNER_CLASSES]) {
      await expect(client.resources(type).patch(ref, '1', {})).rejects.toSatisfy(isForbidden);
    }
    for (const type of [TEMPLATES, LINUX_HOSTS, RUNNER_CLASSES]) {
      await expect(client.resources(type).delete(ref)).rejects.toSatisfy(isForbidden);
    }
    await client.close();
  });
});

describe('a controller that runs', () => {
  test('outlives a restart of the API server, says so in few lines, and binds what came meanwhile', async () => {
    const lines: { level: number; msg: string }[] = [];
    const verbose = pino({ level: 'info' }, { write: (line) => void lines.push(JSON.parse(line)) });
    const client = await controllerClient(admin, controlPlane.kubeconfigPath, dataDir);
    const world = await ControllerWorld.open({ client: admin, controllerClient: client, log: verbose });
    const controller: RunningController = await world.controller({ hostGraceMs: 1e9 });
    await withBasics(world);
    await world.host(2);
    await world.runner('before');
    await world.bound('before');
    const port = Number(new URL(controlPlane.server).port);
    await controlPlane.stop();
    await expect.poll(() => lines.some(({ level }) => level === 40), { timeout: 20_000 }).toBe(true);
    await startPlane(port);
    await world.eventually(
      'a Runner to be accepted',
      async () => await world.runner('after').catch(() => undefined),
    );
    await world.bound('after');
    expect(lines.filter(({ level }) => level >= 40).length).toBeLessThanOrEqual(4);
    expect(lines.every(({ msg }) => !msg.includes('\n'))).toBe(true);
    await controller.stop();
    await world.close();
    await client.close();
  });

  test('is stopped by its signal, once, and leaves nothing behind', async () => {
    const client = await controllerClient(admin, controlPlane.kubeconfigPath, dataDir);
    const abort = new AbortController();
    const controller = await runController({ client, log, http: { port: 0 }, signal: abort.signal });
    await controller.ready;
    abort.abort();
    await controller.stop();
    await expect(fetch(`http://127.0.0.1:${controller.httpPort}/healthz`)).rejects.toThrow();
    await client.close();
  });
});

async function pointingAt(server: string): Promise<KubeClient> {
  const kubeconfigPath = join(dataDir, 'elsewhere.kubeconfig');
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'c', cluster: { server } }],
    users: [{ name: 'u', user: { token: 'none' } }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  };
  await writeFile(kubeconfigPath, stringify(config), { mode: 0o600 });
  return loadKubeClient({ kubeconfigPath, userAgent: 'shoes-vz-test/0' });
}
