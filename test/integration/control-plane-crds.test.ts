import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { parse, stringify } from 'yaml';
import { GENERATED_CRDS, installCrds } from '../../cli/control-plane/crds.ts';
import { type KubeClient, loadKubeClient } from '../../kube/client.ts';
import { startTestControlPlane, type TestControlPlane } from '../harness/control-plane.ts';

const CRDS = '/apis/apiextensions.k8s.io/v1/customresourcedefinitions';
const CRD_TYPE = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  plural: 'customresourcedefinitions',
  kind: 'CustomResourceDefinition',
  namespaced: false,
};

/** Only these tests change CRDs: they have a control plane of their own. */
describe('installCrds', () => {
  let controlPlane: TestControlPlane;
  let client: KubeClient;
  let dir: string;
  beforeAll(async () => {
    controlPlane = await startTestControlPlane();
    client = loadKubeClient({ kubeconfigPath: controlPlane.kubeconfigPath, userAgent: 'shoes-vz-test/0' });
  });
  afterAll(async () => {
    await client.close();
    await controlPlane.destroy();
  });
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'crds-'));
    await cp(GENERATED_CRDS, dir, { recursive: true });
  });
  afterEach(async () => {
    await rm(dir, { recursive: true });
    await installCrds(client);
  });

  const stored = async () => {
    const list = JSON.parse(await client.raw(CRDS));
    return Object.fromEntries(
      list.items.map((crd: { metadata: { name: string }; spec: unknown }) => [crd.metadata.name, crd]),
    );
  };
  const resourceVersions = async () =>
    Object.values<{ metadata: { resourceVersion: string } }>(await stored()).map(
      (crd) => crd.metadata.resourceVersion,
    );
  const remove = async (name: string) => {
    await client.resources(CRD_TYPE).delete({ name });
    await expect.poll(async () => Object.keys(await stored()), { timeout: 10_000 }).not.toContain(name);
  };
  const edit = async (file: string, change: (crd: ReturnType<typeof parse>) => void) => {
    const crd = parse(await readFile(join(dir, file), 'utf8'));
    change(crd);
    await writeFile(join(dir, file), stringify(crd));
  };

  it('serves every generated kind and has the system namespace, and changes nothing the second time', async () => {
    const generated = (await readdir(GENERATED_CRDS)).filter((name) => name.endsWith('.yaml'));
    const before = await resourceVersions();
    expect(before).toHaveLength(generated.length);
    await installCrds(client);
    expect(await resourceVersions()).toEqual(before);
    expect(JSON.parse(await client.raw('/api/v1/namespaces/shoesvz-system'))).toMatchObject({
      metadata: { name: 'shoesvz-system' },
    });
    expect(JSON.parse(await client.raw('/apis/shoesvz.dev/v1alpha1/runners'))).toMatchObject({ items: [] });
  });

  it('brings an older CRD of the same version up to date, short names included', async () => {
    const before = (await stored())['runners.shoesvz.dev'].spec;
    await edit('runners.yaml', (crd) => {
      crd.spec.names.shortNames = ['old'];
      crd.spec.versions[0].additionalPrinterColumns.pop();
      crd.spec.versions[0].schema.openAPIV3Schema.description = 'Older.';
    });
    await installCrds(client, dir);
    expect((await stored())['runners.shoesvz.dev'].spec.names.shortNames).toEqual(['old']);
    await edit('runners.yaml', (crd) => {
      delete crd.spec.names.shortNames;
    });
    await installCrds(client, dir);
    expect((await stored())['runners.shoesvz.dev'].spec.names).not.toHaveProperty('shortNames');
    await installCrds(client);
    expect((await stored())['runners.shoesvz.dev'].spec).toEqual(before);
  });

  it('creates one that is missing, also when two install at once', async () => {
    const name = 'runnerclasses.shoesvz.dev';
    const uid = (await stored())[name].metadata.uid;
    await remove(name);
    await Promise.all([installCrds(client), installCrds(client)]);
    expect((await stored())[name].metadata.uid).not.toBe(uid);
    expect(JSON.parse(await client.raw('/apis/shoesvz.dev/v1alpha1/runnerclasses'))).toMatchObject({
      items: [],
    });
  });

  it('refuses, before it writes anything, a server that has a newer version of a kind', async () => {
    await edit('templates.yaml', (crd) => {
      const [ours] = crd.spec.versions;
      crd.spec.versions.push({ ...structuredClone(ours), name: 'v1beta1', storage: false });
    });
    await installCrds(client, dir);
    await edit('runners.yaml', (crd) => crd.spec.versions[0].additionalPrinterColumns.pop());
    await cp(join(GENERATED_CRDS, 'templates.yaml'), join(dir, 'templates.yaml'));
    const before = await resourceVersions();
    await expect(installCrds(client, dir)).rejects.toMatchObject({
      reason: 'CrdConflict',
      message:
        'CRD templates.shoesvz.dev on the API server has version v1beta1, while this shoes-vz knows v1alpha1; use the shoes-vz that installed it, or delete the CRD with all its objects',
    });
    expect(await resourceVersions()).toEqual(before);
    await remove('templates.shoesvz.dev');
  });

  it('says in one line what is wrong with a directory of CRDs', async () => {
    const missing = join(dir, 'missing');
    await expect(installCrds(client, missing)).rejects.toMatchObject({
      reason: 'CrdsMissing',
      message: expect.stringMatching(/^CRDs: \S+ cannot be read: ENOENT/),
    });
    await edit('runners.yaml', (crd) => {
      crd.spec.group = 'example.org';
    });
    await expect(installCrds(client, dir)).rejects.toMatchObject({
      reason: 'CrdsMissing',
      message: expect.stringMatching(
        /runners\.yaml is no CRD of shoesvz\.dev \(spec\.group: .*\); run: npm run generate$/,
      ),
    });
    const empty = await mkdtemp(join(tmpdir(), 'crds-'));
    await expect(installCrds(client, empty)).rejects.toMatchObject({ reason: 'CrdsMissing' });
    await rm(empty, { recursive: true });
  });
});
