import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { HOST_FINALIZER, type Host } from '../../../crds/host.ts';
import { finalizerName } from '../../../crds/meta.ts';
import { LINUX_HOSTS, RUNNERS, TEMPLATES } from '../../../crds/resources.ts';
import type { Runner } from '../../../crds/runner.ts';
import type { Template } from '../../../crds/template.ts';
import type { KubeClient } from '../../../kube/client.ts';
import { ApiError } from '../../../kube/errors.ts';
import type { KubeObject, Stored } from '../../../kube/object.ts';
import type { Resources } from '../../../kube/resources.ts';
import type { WatchEvent } from '../../../kube/watch.ts';
import { linuxHost } from '../../builders/host.ts';
import { binding, runner } from '../../builders/runner.ts';
import { template } from '../../builders/template.ts';

/** An API server to be held to the suite, and what the suite needs of its surroundings. */
export interface ConformanceSubject {
  readonly client: KubeClient;
  /** A namespace that exists and in which nobody else writes. */
  readonly namespace: string;
  /** A name for a cluster-scoped object that nobody else uses. */
  name(prefix: string): string;
  close(): Promise<void>;
}

/** Code and reason of the refusal that a write meets. */
async function refusal(write: Promise<unknown>): Promise<string> {
  const error = await write.then(
    () => undefined,
    (cause: unknown) => cause,
  );
  if (error instanceof ApiError) return `${error.code} ${error.reason}`;
  throw error ?? new Error('it should have been refused');
}

/**
 * What simulated and real API server have in common, as far as this project relies on it: run on both, so that
 * what holds in a simulation holds in a cluster.
 */
export function conformance(title: string, open: () => Promise<ConformanceSubject>): void {
  describe(`${title} API server`, () => {
    let subject: ConformanceSubject;
    let runners: Resources<Runner>;
    let hosts: Resources<Host>;
    let templates: Resources<Template>;
    let names = 0;

    beforeAll(async () => {
      subject = await open();
      runners = subject.client.resources<Runner>(RUNNERS);
      hosts = subject.client.resources<Host>(LINUX_HOSTS);
      templates = subject.client.resources<Template>(TEMPLATES);
    });
    afterAll(() => subject.close());

    const bare = (object: Runner): Runner => {
      const { status: _, ...rest } = object;
      return rest;
    };
    const fresh = (spec: Partial<Runner['spec']> = {}): Runner => {
      names += 1;
      const metadata = { name: `r${names}`, namespace: subject.namespace };
      const wanted = runner({ metadata, spec: { className: undefined } });
      return bare({ ...wanted, spec: { templateName: 'linux', ...spec } as Runner['spec'] });
    };
    const create = (spec?: Partial<Runner['spec']>): Promise<Stored<Runner>> => runners.create(fresh(spec));
    const patch = (at: Stored<Runner>, body: object): Promise<Stored<Runner>> =>
      runners.patch(at.metadata, at.metadata.resourceVersion, body);
    const patchStatus = (at: Stored<Runner>, status: object): Promise<Stored<Runner>> =>
      runners.patchStatus(at.metadata, at.metadata.resourceVersion, { status });
    const bind = (at: Stored<Runner>, attempt = 1, hostName = 'h'): Promise<Stored<Runner>> =>
      patch(at, {
        metadata: { finalizers: [...(at.metadata.finalizers ?? []), finalizerName(hostName, attempt)] },
        spec: {
          binding: binding(linuxHost({ metadata: { name: hostName, uid: `uid-${hostName}` } }), { attempt }),
        },
      });

    const suite = (): Suite => ({
      subject,
      runners,
      hosts,
      templates,
      create,
      fresh,
      patch,
      patchStatus,
      bind,
    });
    describe('stores', () => storing(suite));
    describe('judges', () => judging(suite));
    describe('ends objects', () => ending(suite));
    describe('tells watchers', () => watching(suite));
  });
}

interface Suite {
  readonly subject: ConformanceSubject;
  readonly runners: Resources<Runner>;
  readonly hosts: Resources<Host>;
  readonly templates: Resources<Template>;
  fresh(spec?: Partial<Runner['spec']>): Runner;
  create(spec?: Partial<Runner['spec']>): Promise<Stored<Runner>>;
  patch(at: Stored<Runner>, body: object): Promise<Stored<Runner>>;
  patchStatus(at: Stored<Runner>, status: object): Promise<Stored<Runner>>;
  bind(at: Stored<Runner>, attempt?: number, hostName?: string): Promise<Stored<Runner>>;
}

function storing(suite: () => Suite): void {
  test('with defaults, a UID, generation 1 and no status of the writer', async () => {
    const { runners, fresh } = suite();
    const wanted = { ...fresh(), status: { phase: 'Running', observedGeneration: 7 } } satisfies Runner;
    const { metadata, spec, status } = await runners.create(wanted);
    expect(spec).toMatchObject({ completion: 'Job', startAttempts: 3 });
    expect(status).toEqual({ observedGeneration: -1, phase: 'Pending' });
    expect(metadata).toMatchObject({ generation: 1, uid: expect.any(String) });
    expect(metadata.creationTimestamp).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    expect(metadata.finalizers).toBeUndefined();
  });

  test('defaults inside of a host and of a Template that say nothing', async () => {
    const { subject, hosts, templates } = suite();
    const { apiVersion, kind } = linuxHost();
    const metadata = { name: subject.name('host') };
    const bare = { apiVersion, kind, metadata } as unknown as Host;
    expect(await hosts.create(bare)).toMatchObject({ spec: {}, status: { observedGeneration: -1 } });
    const { os, arch, source } = template().spec;
    const wanted = template({ metadata: { name: subject.name('template') }, status: undefined });
    const stored = await templates.create({ ...wanted, spec: { os, arch, source } } as Template);
    expect(stored.spec).toMatchObject({
      ssh: { user: 'runner', port: 22 },
      guestAgent: { enabled: true, port: 8080 },
    });
  });

  test('a new generation for a new spec alone', async () => {
    const { create, patch, patchStatus } = suite();
    const created = await create();
    const labelled = await patch(created, { metadata: { labels: { a: 'b' } } });
    expect(labelled.metadata.generation).toBe(1);
    const told = await patchStatus(labelled, { phase: 'Creating' });
    expect(told.metadata.generation).toBe(1);
    const changed = await patch(told, { spec: { activeDeadlineSeconds: 60 } });
    expect(changed.metadata.generation).toBe(2);
    expect(changed.status?.phase).toBe('Creating');
  });

  test('main resource and status each without what is the other’s', async () => {
    const { create, patch, patchStatus } = suite();
    const created = await create();
    const main = await patch(created, { status: { phase: 'Running' }, metadata: { labels: { a: 'b' } } });
    expect(main.status?.phase).toBe('Pending');
    const told = await patchStatus(main, { phase: 'Booting' });
    expect(told.status?.phase).toBe('Booting');
    expect(told.metadata.labels).toEqual({ a: 'b' });
  });

  test('nothing where nothing changes', async () => {
    const { create, patch, patchStatus } = suite();
    // The first write of each kind may still record who wrote.
    const first = await patch(await create(), { spec: { templateName: 'linux' } });
    const same = await patch(first, { spec: { templateName: 'linux' } });
    expect(same.metadata.resourceVersion).toBe(first.metadata.resourceVersion);
    const told = await patchStatus(same, { phase: 'Creating' });
    const again = await patchStatus(told, { phase: 'Creating' });
    expect(again.metadata.resourceVersion).toBe(told.metadata.resourceVersion);
  });

  test('without fields that the schema does not know', async () => {
    const { create, patchStatus } = suite();
    const told = await patchStatus(await create(), { mood: 'bad', phase: 'Creating' });
    expect(told.status).toEqual({ observedGeneration: -1, phase: 'Creating' });
  });

  test('what a null removes, with its default in its place', async () => {
    const { create, patch, patchStatus } = suite();
    const created = await create({ activeDeadlineSeconds: 60 });
    const without = await patch(created, { spec: { activeDeadlineSeconds: null } });
    expect(without.spec.activeDeadlineSeconds).toBeUndefined();
    const told = await patchStatus(without, { phase: null, ipAddress: '10.0.0.1' });
    expect(told.status).toMatchObject({ phase: 'Pending', ipAddress: '10.0.0.1' });
    const emptied = await patch(told, { metadata: { labels: { a: null } } });
    expect(emptied.metadata.labels).toBeUndefined();
  });

  test('lists as a patch has them, whole', async () => {
    const { create, patchStatus } = suite();
    const condition = { type: 'A', status: 'True', reason: 'R', message: 'm', lastTransitionTime: TIME };
    const told = await patchStatus(await create(), { conditions: [condition, { ...condition, type: 'B' }] });
    const less = await patchStatus(told, { conditions: [{ ...condition, type: 'B' }] });
    expect(less.status?.conditions?.map(({ type }) => type)).toEqual(['B']);
  });
}

const TIME = '2026-01-01T00:00:00Z';

function judging(suite: () => Suite): void {
  test('a write by the resourceVersion that it was decided on', async () => {
    const { create, patch, patchStatus, runners, fresh } = suite();
    const created = await create();
    await patchStatus(created, { phase: 'Creating' });
    expect(await refusal(patch(created, { metadata: { labels: { a: 'b' } } }))).toBe('409 Conflict');
    expect(await refusal(patchStatus(created, { phase: 'Booting' }))).toBe('409 Conflict');
    const again = { ...fresh(), metadata: { ...fresh().metadata, name: created.metadata.name } };
    expect(await refusal(runners.create(again))).toBe('409 AlreadyExists');
  });

  test('a write to what is not there', async () => {
    const { create, patch, runners, subject } = suite();
    const created = await create();
    expect(await runners.delete(created.metadata)).toBe(true);
    expect(await runners.delete(created.metadata)).toBe(false);
    expect(await runners.get(created.metadata)).toBeUndefined();
    expect(await refusal(patch(created, { metadata: { labels: {} } }))).toBe('404 NotFound');
    const elsewhere = { ...created, metadata: { name: 'r', namespace: `${subject.namespace}-absent` } };
    expect(await refusal(runners.create({ ...elsewhere, status: undefined }))).toBe('404 NotFound');
  });

  test('the spec as immutable', async () => {
    const { create, patch } = suite();
    const created = await create({ setupScript: { inline: '#!/bin/sh\n' } });
    for (const spec of [
      { templateName: 'other' },
      { completion: 'Never' },
      { className: 'large' },
      { setupScript: { inline: '#!/bin/bash\n' } },
      { setupScript: null },
      { startAttempts: 1 },
      { hostSelector: { a: 'b' } },
      { timeouts: { boot: '1m' } },
    ]) {
      expect([spec, await refusal(patch(created, { spec }))]).toEqual([spec, '422 Invalid']);
    }
    const changed = await patch(created, { spec: { ttlSecondsAfterFinished: 5 } });
    expect(changed.spec.ttlSecondsAfterFinished).toBe(5);
  });

  test('bindings: none at first, then attempt by attempt', async () => {
    const { create, patch, bind, runners, fresh } = suite();
    const early = fresh({ binding: binding(linuxHost()) });
    expect(await refusal(runners.create(early))).toBe('422 Invalid');
    const created = await create();
    expect(await refusal(bind(created, 2))).toBe('422 Invalid');
    const bound = await bind(created);
    expect(bound.metadata.generation).toBe(2);
    expect(await refusal(patch(bound, { spec: { binding: null } }))).toBe('422 Invalid');
    expect(await refusal(patch(bound, { spec: { binding: { hostName: 'other' } } }))).toBe('422 Invalid');
    expect(await refusal(bind(bound, 3))).toBe('422 Invalid');
    expect((await bind(bound, 2, 'other')).spec.binding).toMatchObject({ hostName: 'other', attempt: 2 });
  });

  test('the gate: the bound attempt alone, once', async () => {
    const { create, patchStatus, bind } = suite();
    const created = await create();
    expect(await refusal(patchStatus(created, { scriptAttempt: 1 }))).toBe('422 Invalid');
    const bound = await bind(created);
    expect(await refusal(patchStatus(bound, { scriptAttempt: 2 }))).toBe('422 Invalid');
    const passed = await patchStatus(bound, { scriptAttempt: 1, attempt: 1 });
    expect(await refusal(patchStatus(passed, { scriptAttempt: null }))).toBe('422 Invalid');
    expect(await refusal(patchStatus(passed, { attempt: null }))).toBe('422 Invalid');
    expect(await refusal(bind(passed, 2))).toBe('422 Invalid');
  });

  test('types, bounds, patterns and lists that are maps', async () => {
    const { create, patchStatus, runners, fresh } = suite();
    const bad: object[] = [
      { templateName: 'Not A Name' },
      { templateName: 5 },
      { templateName: 'linux', completion: 'Sometimes' },
      { templateName: 'linux', completion: 'Script' },
      { templateName: 'linux', startAttempts: 0 },
      { templateName: 'linux', startAttempts: 11 },
      { templateName: 'linux', timeouts: { boot: 'soon' } },
      { templateName: 'linux', timeouts: { boot: '0s' } },
      { templateName: 'linux', setupScript: {} },
      { templateName: 'linux', setupScript: { inline: 'x', secretKeyRef: { name: 's', key: 'k' } } },
      {},
    ];
    for (const spec of bad) {
      const refused = await refusal(runners.create({ ...fresh(), spec: spec as Runner['spec'] }));
      expect([spec, refused]).toEqual([spec, '422 Invalid']);
    }
    const created = await create();
    const condition = { type: 'A', status: 'True', reason: 'R', message: 'm', lastTransitionTime: TIME };
    for (const status of [
      { phase: 'Odd' },
      { timings: { bootToSshMs: -1 } },
      { conditions: [condition, condition] },
      { conditions: [{ ...condition, status: 'Maybe' }] },
      { conditions: [{ ...condition, message: 'x'.repeat(1025) }] },
      { conditions: [{ type: 'A' }] },
    ]) {
      expect([status, await refusal(patchStatus(created, status))]).toEqual([status, '422 Invalid']);
    }
  });

  test('the name of a Runner that must be a host name, and of a host that finalizers carry', async () => {
    const { runners, hosts, fresh, subject } = suite();
    const named = (name: string): Runner => ({
      ...fresh(),
      metadata: { name, namespace: subject.namespace },
    });
    expect(await refusal(runners.create(named('a.b')))).toBe('422 Invalid');
    const { status: _, ...host } = linuxHost({ metadata: { name: subject.name('h'.repeat(52)) } });
    expect(await refusal(hosts.create(host))).toBe('422 Invalid');
  });
}

function ending(suite: () => Suite): void {
  test('with finalizers in two steps, the second by whoever removes the last', async () => {
    const { create, bind, patch, runners } = suite();
    const bound = await bind(await create());
    expect(await runners.delete(bound.metadata)).toBe(true);
    const dying = (await runners.get(bound.metadata)) as Stored<Runner>;
    expect(dying.metadata.deletionTimestamp).toEqual(expect.any(String));
    expect(dying.metadata.generation).toBe(3);
    expect(await runners.delete(bound.metadata)).toBe(true);
    expect((await runners.get(bound.metadata))?.metadata.resourceVersion).toBe(
      dying.metadata.resourceVersion,
    );
    const last = await patch(dying, { metadata: { finalizers: [] } });
    expect(last.metadata.resourceVersion).toBe(dying.metadata.resourceVersion);
    expect(last.metadata.finalizers ?? []).toEqual([]);
    expect(await runners.get(bound.metadata)).toBeUndefined();
  });

  test('and takes no new finalizers for a dying one', async () => {
    const { create, bind, runners, patchStatus } = suite();
    const bound = await bind(await create());
    await runners.delete(bound.metadata);
    const dying = (await runners.get(bound.metadata)) as Stored<Runner>;
    expect(await refusal(bind(dying, 2, 'other'))).toBe('422 Invalid');
    expect((await patchStatus(dying, { phase: 'TearingDown' })).status?.phase).toBe('TearingDown');
  });

  test('of one UID, or of one resourceVersion, alone', async () => {
    const { create, runners, patchStatus } = suite();
    const created = await create();
    expect(await runners.delete(created.metadata, { uid: 'another' })).toBe(false);
    await patchStatus(created, { phase: 'Creating' });
    const { uid, resourceVersion } = created.metadata;
    expect(await refusal(runners.delete(created.metadata, { uid, resourceVersion }))).toBe('409 Conflict');
    expect(await runners.delete(created.metadata, { uid })).toBe(true);
  });

  test('of the same name as others with UIDs of their own', async () => {
    const { create, runners, fresh, patch } = suite();
    const first = await create();
    await runners.delete(first.metadata);
    const { name } = first.metadata;
    const second = await runners.create({ ...fresh(), metadata: { ...fresh().metadata, name } });
    expect(second.metadata.uid).not.toBe(first.metadata.uid);
    expect(await refusal(patch(first, { metadata: { labels: { a: 'b' } } }))).toBe('409 Conflict');
  });

  test('of a host as its own finalizer lets it', async () => {
    const { hosts, subject } = suite();
    const metadata = { name: subject.name('host'), finalizers: [HOST_FINALIZER] };
    const { status: _, ...wanted } = linuxHost({ metadata });
    const host = await hosts.create(wanted);
    await hosts.delete(host.metadata);
    const dying = (await hosts.get(host.metadata)) as Stored<Host>;
    await hosts.patch(dying.metadata, dying.metadata.resourceVersion, { metadata: { finalizers: null } });
    expect(await hosts.get(host.metadata)).toBeUndefined();
  });
}

/** What a watcher saw: `ADDED r1`. */
type Seen = string;

async function watched(
  { subject: { client, namespace } }: Suite,
  options: { resourceVersion?: string; initialEvents?: boolean; fieldSelector?: string },
  isEnough: (seen: readonly Seen[]) => boolean,
): Promise<Seen[]> {
  const seen: Seen[] = [];
  const controller = new AbortController();
  const events = client
    .collection<Runner>(RUNNERS)
    .watch({ ...options, namespace, timeoutSeconds: 60, signal: controller.signal });
  for await (const event of events) {
    seen.push(inShort(event));
    if (isEnough(seen)) break;
  }
  controller.abort();
  return seen;
}

const inShort = (event: WatchEvent<KubeObject>): Seen =>
  event.type === 'BOOKMARK'
    ? `BOOKMARK ${event.initialEventsEnd}`
    : `${event.type} ${event.object.metadata.name} ${event.object.metadata.resourceVersion}`;

function watching(suite: () => Suite): void {
  test('every change after a position, in order, with its resourceVersion', async () => {
    const { create, patchStatus, runners, subject } = suite();
    const { resourceVersion } = await runners.list({ namespace: subject.namespace });
    const created = await create();
    const told = await patchStatus(created, { phase: 'Creating' });
    await runners.delete(told.metadata);
    const { name } = created.metadata;
    const seen = await watched(suite(), { resourceVersion }, (lines) => lines.length === 3);
    expect(seen.slice(0, 2)).toEqual([
      `ADDED ${name} ${created.metadata.resourceVersion}`,
      `MODIFIED ${name} ${told.metadata.resourceVersion}`,
    ]);
    const [type, last, version] = seen[2]?.split(' ') ?? [];
    expect([type, last]).toEqual(['DELETED', name]);
    expect(Number(version)).toBeGreaterThan(Number(told.metadata.resourceVersion));
  });

  test('the state first where that is asked for, then that it is complete', async () => {
    const { create } = suite();
    const { metadata } = await create();
    const options = { initialEvents: true, fieldSelector: `metadata.name=${metadata.name}` };
    expect(await watched(suite(), options, (lines) => lines.length === 2)).toEqual([
      `ADDED ${metadata.name} ${metadata.resourceVersion}`,
      'BOOKMARK true',
    ]);
  });

  test('what comes into a selection as added, and what leaves it as deleted', async () => {
    const { create, bind, runners, subject } = suite();
    const { resourceVersion } = await runners.list({ namespace: subject.namespace });
    const first = await bind(await create(), 1, 'one');
    const moved = await bind(first, 2, 'two');
    const options = { resourceVersion, fieldSelector: 'spec.binding.hostName=one' };
    expect(await watched(suite(), options, (lines) => lines.length === 2)).toEqual([
      `ADDED ${first.metadata.name} ${first.metadata.resourceVersion}`,
      `DELETED ${first.metadata.name} ${moved.metadata.resourceVersion}`,
    ]);
  });

  test('by fields that are selectable, and by no others', async () => {
    const { create, patchStatus, runners, subject } = suite();
    const told = await patchStatus(await create(), { phase: 'TearingDown' });
    const { namespace } = subject;
    const { items } = await runners.list({ namespace, fieldSelector: 'status.phase=TearingDown' });
    expect(items.map(({ metadata }) => metadata.name)).toContain(told.metadata.name);
    const one = await runners.list({ namespace, fieldSelector: `metadata.name=${told.metadata.name}` });
    expect(one.items).toHaveLength(1);
    const odd = runners.list({ namespace, fieldSelector: 'spec.templateName=linux' });
    expect(await refusal(odd)).toBe('400 BadRequest');
  });

  test('in pages of one consistent list', async () => {
    const { create, subject } = suite();
    await create();
    await create();
    const collection = subject.client.collection<Runner>(RUNNERS);
    const first = await collection.listPage({ namespace: subject.namespace, limit: 1 });
    expect(first.items).toHaveLength(1);
    expect(first.continueToken).toEqual(expect.any(String));
    await create();
    const { continueToken } = first;
    const rest = await collection.listPage({ namespace: subject.namespace, continueToken });
    expect(rest.resourceVersion).toBe(first.resourceVersion);
  });
}
