import { setTimeout as delay } from 'node:timers/promises';
import type { KubeObject, ResourceType } from '../../kube/object.ts';
import { type BenchContext, inScope } from '../harness/run.ts';
import { type Summary, summarize } from '../harness/statistics.ts';
import { startApiServer } from '../harness/world.ts';
import { Subject } from './subject-process.ts';
import { createRunner, delays, touch, type Write } from './writer.ts';

interface Namespace extends KubeObject {
  kind: 'Namespace';
}

const NAMESPACES: ResourceType<Namespace> = {
  group: '',
  version: 'v1',
  plural: 'namespaces',
  kind: 'Namespace',
  namespaced: false,
};

const INFORMERS = 20;
const PAUSE_MS = 500;
const SETTLE_MS = 5_000;

export interface IdleFigures {
  /** PATCH sent → handler called, of the first event after the quiet. */
  readonly eventDelayMs: Summary;
  /** Interruptions that the informers told of. */
  readonly problems: number;
}

/**
 * Each implementation follows twenty namespaces in which nothing happens for so many minutes, then one event
 * comes in each. Throws where one is not seen.
 */
export async function measureIdle(
  context: BenchContext,
  minutes: number,
): Promise<{ minutes: number; ours: IdleFigures; 'client-node': IdleFigures }> {
  return await inScope(context, async (inner) => {
    const { client, controlPlane } = await startApiServer(inner, { durable: false });
    const namespaces = Array.from({ length: INFORMERS }, (_, index) => `quiet-${index}`);
    for (const name of namespaces) {
      const namespace = { apiVersion: 'v1', kind: 'Namespace', metadata: { name } } as const;
      await client.resources(NAMESPACES).create(namespace);
      await createRunner(client, name, name);
    }
    const subjects = (['ours', 'client-node'] as const).map(
      (implementation) => new Subject(implementation, controlPlane.kubeconfigPath),
    );
    for (const subject of subjects) {
      inner.onEnd(() => subject.end());
      await subject.follow(namespaces);
    }
    inner.tell(`idle for ${minutes} minutes`);
    await delay(minutes * 60_000);
    const writes: Write[] = [];
    for (const name of namespaces) {
      writes.push(await touch(client, name, name));
      await delay(PAUSE_MS);
    }
    await delay(SETTLE_MS);
    const [ours, clientNode] = await Promise.all(
      subjects.map(async (subject) => {
        const { seen, problems } = await subject.take();
        return { eventDelayMs: summarize(delays(writes, seen, 'sentAt')), problems };
      }),
    );
    if (ours === undefined || clientNode === undefined) throw new Error('unreachable');
    return { minutes, ours, 'client-node': clientNode };
  });
}
