import { beforeAll, beforeEach, describe, expect, inject, test } from 'vitest';
import type { KubeClient } from '../../kube/client.ts';
import {
  isAlreadyExists,
  isConflict,
  isForbidden,
  isInvalid,
  isNotFound,
  isUnauthorized,
} from '../../kube/errors.ts';
import type { KubeObject, ResourceType, Stored } from '../../kube/object.ts';
import type { Resources } from '../../kube/resources.ts';
import { writeStatus } from '../../kube/status.ts';
import { testClient, testNamespace, uniqueName } from '../harness/control-plane.ts';
import { CONFIG_MAPS, type ConfigMap, clientAs, configMap } from './kube-world.ts';

let client: KubeClient;
let maps: Resources<ConfigMap>;
let namespace: string;

beforeAll(() => {
  client = testClient();
  maps = client.resources(CONFIG_MAPS);
  return () => client.close();
});

beforeEach(async () => {
  namespace = await testNamespace(client);
});

const caught = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => expect.unreachable('it should have failed'),
    (error: unknown) => error,
  );

describe('verbs', () => {
  test('create, get, patch and delete', async () => {
    const created = await maps.create(configMap({ name: 'a', namespace }));
    expect(await maps.get(created.metadata)).toEqual(created);
    const patched = await maps.patch(created.metadata, created.metadata.resourceVersion, {
      data: { value: null, other: '2' },
    });
    expect(patched.data).toEqual({ other: '2' });
    expect(await maps.delete(created.metadata)).toBe(true);
    expect(await maps.delete(created.metadata)).toBe(false);
    expect(await maps.get(created.metadata)).toBeUndefined();
  });

  test('a patch decided on what has changed since is refused', async () => {
    const created = await maps.create(configMap({ name: 'a', namespace }));
    const patch = (value: string) =>
      maps.patch(created.metadata, created.metadata.resourceVersion, { data: { value } });
    await patch('2');
    expect(await caught(patch('3'))).toSatisfy(isConflict);
    expect((await maps.get(created.metadata))?.data).toEqual({ value: '2' });
  });

  test('so is one decided on another object of the same name', async () => {
    const created = await maps.create(configMap({ name: 'a', namespace }));
    await maps.delete(created.metadata);
    await maps.create(configMap({ name: 'a', namespace }));
    const patch = maps.patch(created.metadata, created.metadata.resourceVersion, { data: {} });
    expect(await caught(patch)).toSatisfy(isConflict);
  });

  test('a patch does not bring back what was deleted', async () => {
    const created = await maps.create(configMap({ name: 'a', namespace }));
    await maps.delete(created.metadata);
    const patch = maps.patch(created.metadata, created.metadata.resourceVersion, { data: {} });
    expect(await caught(patch)).toSatisfy(isNotFound);
    expect(await maps.get(created.metadata)).toBeUndefined();
  });

  test('a delete by UID spares another object of the same name', async () => {
    const created = await maps.create(configMap({ name: 'a', namespace }));
    expect(await maps.delete(created.metadata, { uid: 'another' })).toBe(false);
    expect(await maps.get(created.metadata)).toBeDefined();
    expect(await maps.delete(created.metadata, { uid: created.metadata.uid })).toBe(true);
  });

  test('a delete by resourceVersion spares what has changed meanwhile', async () => {
    const created = await maps.create(configMap({ name: 'a', namespace }));
    const { uid, resourceVersion } = created.metadata;
    const changed = await maps.patch(created.metadata, resourceVersion, { data: { a: 'b' } });
    expect(await caught(maps.delete(created.metadata, { uid, resourceVersion }))).toSatisfy(isConflict);
    expect(await maps.get(created.metadata)).toBeDefined();
    const current = { uid, resourceVersion: changed.metadata.resourceVersion };
    expect(await maps.delete(created.metadata, current)).toBe(true);
    expect(await maps.delete(created.metadata, current)).toBe(false);
  });

  test('a name that is taken is no conflict', async () => {
    await maps.create(configMap({ name: 'a', namespace }));
    const error = await caught(maps.create(configMap({ name: 'a', namespace })));
    expect([isAlreadyExists(error), isConflict(error)]).toEqual([true, false]);
  });

  test('what the API refuses says which field', async () => {
    const error = await caught(maps.create(configMap({ name: 'Not Good', namespace })));
    expect(error).toSatisfy(isInvalid);
    expect(String(error)).toContain('metadata.name');
  });

  test('a field that nobody knows is refused', async () => {
    const typo = { ...configMap({ name: 'a', namespace }), dat: {} };
    expect(String(await caught(maps.create(typo)))).toContain('unknown field "dat"');
  });

  test('a namespace that is missing is said to be', async () => {
    const error = await caught(maps.create(configMap({ name: 'a', namespace: 'absent' })));
    expect(String(error)).toBe('ApiError: namespaces "absent" not found');
  });

  test('lists run over all pages, and select by label and field', async () => {
    const names = Array.from({ length: 1_100 }, (_, index) => `m${index}`);
    await Promise.all(
      names.map((name, index) =>
        maps.create(configMap({ name, namespace, labels: { parity: index % 2 === 0 ? 'even' : 'odd' } })),
      ),
    );
    const all = await maps.list({ namespace });
    expect(all.items.map((map) => map.metadata.name).sort()).toEqual(names.sort());
    expect((await maps.list({ namespace, labelSelector: 'parity=odd' })).items).toHaveLength(550);
    const one = await maps.list({ namespace, fieldSelector: 'metadata.name=m7' });
    expect(one.items.map((map) => [map.apiVersion, map.kind, map.metadata.name])).toEqual([
      ['v1', 'ConfigMap', 'm7'],
    ]);
    const cached = await maps.list({ namespace, resourceVersion: all.resourceVersion });
    expect(cached.items).toHaveLength(1_100);
  });
});

interface Widget extends KubeObject {
  apiVersion: string;
  kind: 'Widget';
  spec: { size: number };
  status?: { phase?: string | undefined; parts?: string[] | undefined } | undefined;
}

const CRDS: ResourceType<KubeObject> = {
  group: 'apiextensions.k8s.io',
  version: 'v1',
  plural: 'customresourcedefinitions',
  kind: 'CustomResourceDefinition',
  namespaced: false,
};

async function widgets(): Promise<ResourceType<Widget>> {
  const group = `${uniqueName('kube')}.test`;
  const object = (properties: object) => ({ type: 'object', properties });
  const schema = object({
    spec: object({ size: { type: 'integer' } }),
    status: object({ phase: { type: 'string' }, parts: { type: 'array', items: { type: 'string' } } }),
  });
  const version = {
    name: 'v1',
    served: true,
    storage: true,
    schema: { openAPIV3Schema: schema },
    subresources: { status: {} },
    selectableFields: [{ jsonPath: '.status.phase' }],
  };
  const crd = {
    apiVersion: 'apiextensions.k8s.io/v1',
    kind: 'CustomResourceDefinition',
    metadata: { name: `widgets.${group}` },
    spec: {
      group,
      scope: 'Namespaced',
      names: { plural: 'widgets', singular: 'widget', kind: 'Widget' },
      versions: [version],
    },
  };
  await client.resources(CRDS).create(crd);
  return { group, version: 'v1', plural: 'widgets', kind: 'Widget', namespaced: true };
}

describe('custom resources', () => {
  test('a kind that is not served is said to be missing, until it is', async () => {
    const missing: ResourceType<Widget> = {
      group: 'absent.test',
      version: 'v1',
      plural: 'widgets',
      kind: 'Widget',
      namespaced: true,
    };
    const error = await caught(client.resources(missing).get({ namespace, name: 'a' }));
    expect(String(error)).toBe(
      'ApiError: the API server does not serve widgets.absent.test/v1: is its CRD installed?',
    );
  });

  test('status is written where it differs, fenced, and selectable', async () => {
    const type = await widgets();
    const resources = client.resources(type);
    const widget = {
      apiVersion: `${type.group}/v1`,
      kind: 'Widget',
      metadata: { name: 'w', namespace },
    } as const;
    const created = await untilServed(() => resources.create({ ...widget, spec: { size: 1 } }));
    const first = await writeStatus(resources, created, { phase: 'Ready', parts: ['a', 'b'] });
    expect([first.written, first.object.status]).toEqual([true, { phase: 'Ready', parts: ['a', 'b'] }]);
    const same = await writeStatus(resources, first.object, { parts: ['a', 'b'], phase: 'Ready' });
    expect(same).toEqual({ written: false, object: first.object });
    const less = await writeStatus(resources, first.object, { parts: ['b'] });
    expect(less.object.status).toEqual({ parts: ['b'] });
    expect(less.object.spec).toEqual({ size: 1 });
    expect(await caught(writeStatus(resources, first.object, { phase: 'Old' }))).toSatisfy(isConflict);
    await writeStatus(resources, less.object, { phase: 'Done' });
    const done = await resources.list({ namespace, fieldSelector: 'status.phase=Done' });
    expect(done.items.map((item) => item.metadata.name)).toEqual(['w']);
    expect((await resources.list({ namespace, fieldSelector: 'status.phase=Ready' })).items).toEqual([]);
  });
});

/** A CRD is served a moment after it was created. */
async function untilServed(create: () => Promise<Stored<Widget>>): Promise<Stored<Widget>> {
  const deadline = performance.now() + 30_000;
  for (;;) {
    try {
      return await create();
    } catch (error) {
      if (!isNotFound(error) || performance.now() > deadline) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test('the version is that of the server', async () => {
  const version = await client.version();
  expect(version.gitVersion).toMatch(/^v\d+\.\d+\.\d+/);
  expect(await client.raw('/readyz')).toBe('ok');
});

test('whoever may not is told so', async () => {
  const asNobody = await clientAs(inject('kubeconfig'), (user) => ({ ...user, as: 'nobody' }));
  const withBadToken = await clientAs(inject('kubeconfig'), () => ({ token: 'bad' }));
  try {
    expect(await caught(asNobody.resources(CONFIG_MAPS).list({ namespace }))).toSatisfy(isForbidden);
    expect(await caught(withBadToken.resources(CONFIG_MAPS).list({ namespace }))).toSatisfy(isUnauthorized);
  } finally {
    await Promise.all([asNobody.close(), withBadToken.close()]);
  }
});
