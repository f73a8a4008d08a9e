import { setTimeout as delay } from 'node:timers/promises';
import { API_VERSION } from '../../crds/meta.ts';
import { RUNNERS } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import type { KubeClient } from '../../kube/client.ts';
import type { Seen } from './messages.ts';

/** A write that was acknowledged; moments are of CLOCK_MONOTONIC, in milliseconds. */
export interface Write {
  readonly name: string;
  readonly resourceVersion: string;
  readonly sentAt: number;
  readonly answeredAt: number;
}

const CONCURRENCY = 16;

export const monotonic = (): number => Number(process.hrtime.bigint()) / 1e6;

const runner = (name: string, namespace: string): Runner => ({
  apiVersion: API_VERSION,
  kind: 'Runner',
  metadata: { name, namespace },
  spec: {
    templateName: 'linux',
    className: 'small',
    completion: 'Job',
    startAttempts: 3,
    setupScript: { inline: 'exec ./run.sh' },
  },
});

/** Runners with a status as a running one's. */
export async function createRunners(client: KubeClient, count: number): Promise<string[]> {
  const runners = client.resources<Runner>(RUNNERS);
  const names = Array.from({ length: count }, (_, index) => `runner-${index}`);
  let next = 0;
  const work = async (): Promise<void> => {
    for (let name = names[next++]; name !== undefined; name = names[next++]) {
      const { metadata } = await runners.create(runner(name, 'default'));
      await runners.patchStatus(metadata, metadata.resourceVersion, { status: statusOf(name) });
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, work));
  return names;
}

function statusOf(name: string): object {
  const lastTransitionTime = new Date().toISOString();
  const condition = (type: string, reason: string, message: string) => ({
    type,
    status: 'True',
    reason,
    message,
    lastTransitionTime,
    observedGeneration: 2,
  });
  return {
    phase: 'Running',
    observedGeneration: 2,
    attempt: 1,
    ipAddress: '10.0.2.15',
    ssh: { host: '127.42.17.3', port: 2222, user: 'runner', hostKey: `ssh-ed25519 ${'A'.repeat(68)}` },
    timings: { cloneMs: 40, bootToSshMs: 4000, setupMs: 900, totalMs: 6000 },
    conditions: [
      condition('Bound', 'Bound', 'bound to host mac-mini-17, attempt 1'),
      condition('SSHReady', 'Authenticated', 'an authenticated SSH command exited with code 0'),
      condition('Ready', 'RunnerRegistered', `the Actions runner of ${name} is registered and takes jobs`),
    ],
  };
}

export async function createRunner(client: KubeClient, name: string, namespace: string): Promise<void> {
  await client.resources<Runner>(RUNNERS).create(runner(name, namespace));
}

/** Writes to one Runner once. */
export async function touch(client: KubeClient, name: string, namespace: string): Promise<Write> {
  const runners = client.resources<Runner>(RUNNERS);
  const current = await runners.get({ namespace, name });
  if (current === undefined) throw new Error(`${namespace}/${name} is gone`);
  const patch = { metadata: { annotations: { touched: String(monotonic()) } } };
  const sentAt = monotonic();
  const written = await runners.patch({ namespace, name }, current.metadata.resourceVersion, patch);
  return { name, resourceVersion: written.metadata.resourceVersion, sentAt, answeredAt: monotonic() };
}

/** Writes to one Runner after the other, `pauseMs` between, until `isOver`. What fails is left out. */
export async function touchUntil(
  client: KubeClient,
  names: readonly string[],
  pauseMs: number,
  isOver: (writes: number) => boolean,
): Promise<Write[]> {
  const writes: Write[] = [];
  for (let index = 0; !isOver(writes.length); index += 1) {
    const name = names[index % names.length] ?? '';
    const write = await touch(client, name, 'default').catch(() => undefined);
    if (write !== undefined) writes.push(write);
    await delay(pauseMs);
  }
  return writes;
}

/** From the sending or the answer of each write to its sight; throws for a write that was not seen. */
export function delays(
  writes: readonly Write[],
  seen: readonly Seen[],
  from: 'sentAt' | 'answeredAt',
): number[] {
  const at = new Map(seen.map((one) => [`${one.name} ${one.resourceVersion}`, one.at]));
  return writes.map((write) => {
    const seenAt = at.get(`${write.name} ${write.resourceVersion}`);
    if (seenAt === undefined) throw new Error(`the write to ${write.name} was never seen`);
    return Math.max(0, seenAt - write[from]);
  });
}
