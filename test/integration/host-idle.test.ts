import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type KubeClient, loadKubeClient } from '../../kube/client.ts';
import { startTestControlPlane, type TestControlPlane } from '../harness/control-plane.ts';
import { edit, ensureSystemNamespace, hosts, placeTemplate, readyOf, TestHosts } from './host-fixture.ts';

const AGENT = 'shoes-vz-node-daemon/0.1.0';
/** Longer than every period of the daemon but the rescan of templates, which asks no API server. */
const IDLE_MS = 20_000;

let directory: string;
let auditLog: string;
let controlPlane: TestControlPlane;
let user: KubeClient;
let client: KubeClient;
let daemons: TestHosts;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'idle-'));
  auditLog = join(directory, 'audit.log');
  controlPlane = await startTestControlPlane({ auditLog });
  const { kubeconfigPath } = controlPlane;
  user = loadKubeClient({ kubeconfigPath, userAgent: 'user/0' });
  client = loadKubeClient({ kubeconfigPath, userAgent: AGENT });
  daemons = new TestHosts(client);
  await ensureSystemNamespace(user);
});
afterAll(async () => {
  await daemons.close();
  await Promise.all([user.close(), client.close()]);
  await controlPlane.destroy();
  await rm(directory, { recursive: true, force: true });
});

interface AuditEvent {
  readonly stage: string;
  readonly verb: string;
  readonly userAgent?: string;
  readonly objectRef?: { readonly resource?: string; readonly subresource?: string };
}

/** The daemon's writes since the log began, like `patch linuxhosts/status`, but for Leases. */
async function writes(): Promise<string[]> {
  const text = await readFile(auditLog, 'utf8');
  const complete = text.slice(0, text.lastIndexOf('\n')).split('\n');
  return complete
    .map((line): AuditEvent => JSON.parse(line))
    .filter((event) => event.stage === 'ResponseComplete' && event.userAgent?.startsWith(AGENT))
    .filter((event) => !['get', 'list', 'watch'].includes(event.verb))
    .map(({ verb, objectRef }) => {
      const sub = objectRef?.subresource === undefined ? '' : `/${objectRef.subresource}`;
      return `${verb} ${objectRef?.resource}${sub}`;
    })
    .filter((write) => !write.endsWith(' leases'));
}

const stored = async (name: string) => await hosts(user).get({ name });
const poll = (probe: () => unknown) => expect.poll(probe, { timeout: 30_000, interval: 100 });

test('a host costs two writes to register, one per change, and none while nothing changes', async () => {
  const root = await daemons.root();
  await placeTemplate(root.path, 'debian');
  await daemons.open('idle', { root });
  await poll(async () => readyOf(await stored('idle'))?.status).toBe('True');
  const registered = ['create linuxhosts', 'patch linuxhosts/status'];
  await poll(writes).toEqual(registered);

  await edit(user, 'idle', () => ({ spec: { maxRunners: 4 } }));
  await poll(async () => (await stored('idle'))?.status?.allocatable?.runners).toBe(4);
  const before = await stored('idle');
  await delay(IDLE_MS);
  expect(await writes()).toEqual([...registered, 'patch linuxhosts/status']);
  expect((await stored('idle'))?.metadata.resourceVersion).toBe(before?.metadata.resourceVersion);
});

test('a restart of the API server is survived, and what changed meanwhile is told', {
  timeout: 120_000,
}, async () => {
  const { session, root } = await daemons.open('survivor', {
    lease: { durationMs: 3_000, renewEveryMs: 500 },
  });
  const uid = session.uid();
  await controlPlane.stop();
  await poll(() => session.leaseFresh()).toBe(false);
  expect(session.state()).toBe('live');
  await placeTemplate(root.path, 'late');
  await poll(() => [...session.templates().keys()]).toEqual(['late']);
  controlPlane = await controlPlane.restart();
  await poll(() => session.leaseFresh()).toBe(true);
  await poll(async () => (await stored('survivor'))?.status?.templates?.map(({ name }) => name)).toEqual([
    'late',
  ]);
  expect(session.uid()).toBe(uid);
  expect(readyOf(await stored('survivor'))?.status).toBe('True');
  await hosts(user).delete({ name: 'survivor' });
  await poll(() => session.state()).toBe('deleting');
});
