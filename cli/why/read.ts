import { RUNNERS, TEMPLATES } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import type { Template } from '../../crds/template.ts';
import type { KubeClient } from '../../kube/client.ts';
import { isForbidden } from '../../kube/errors.ts';
import { EVENTS, type KubeEvent } from '../../kube/events.ts';
import type { ObjectRef, Stored } from '../../kube/object.ts';
import { CliError } from '../failure.ts';
import { inWords } from './duration.ts';

/** A Runner and the Events that regard it. */
export interface RunnerRecord {
  readonly runner: Stored<Runner>;
  /** The one that it names; undefined where there is none, or where one may not read it. */
  readonly template: Stored<Template> | undefined;
  readonly events: readonly Stored<KubeEvent>[];
  /** False where one may not read Events. */
  readonly eventsKnown: boolean;
}

/** Throws CliError, with one line, where there is no such Runner. */
export async function readRecord(client: KubeClient, ref: ObjectRef, now: number): Promise<RunnerRecord> {
  const runner = await client.resources<Runner>(RUNNERS).get(ref);
  const about = runner === undefined ? `regarding.name=${ref.name}` : `regarding.uid=${runner.metadata.uid}`;
  const events = await readEvents(client, ref, `regarding.kind=Runner,${about}`);
  if (runner === undefined) throw new CliError(noSuchRunner(ref, events ?? [], now));
  const template = await unlessForbidden(
    client.resources<Template>(TEMPLATES).get({ name: runner.spec.templateName }),
  );
  return { runner, template, events: events ?? [], eventsKnown: events !== undefined };
}

/** undefined where one may not read Events: they add to the story, but it can be told without. */
async function readEvents(
  client: KubeClient,
  { namespace }: ObjectRef,
  fieldSelector: string,
): Promise<Stored<KubeEvent>[] | undefined> {
  const list = client.resources(EVENTS).list({ namespace, fieldSelector });
  return (await unlessForbidden(list))?.items;
}

async function unlessForbidden<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (isForbidden(error)) return undefined;
    throw error;
  }
}

/** Events outlive what they regard: of a Runner that is gone they still tell for about an hour. */
function noSuchRunner({ namespace, name }: ObjectRef, events: readonly KubeEvent[], now: number): string {
  const none = `there is no Runner ${name} in namespace ${namespace}`;
  const last = events.reduce<KubeEvent | undefined>(
    (latest, event) => (latest === undefined || event.eventTime > latest.eventTime ? event : latest),
    undefined,
  );
  if (last === undefined) return `${none}: "kubectl get runners -A" lists those there are`;
  const ago = inWords(Math.max(0, now - Date.parse(last.eventTime)), { exact: false });
  return `${none} any more; the last Event about one of that name, ${ago} ago: ${last.reason}: ${last.note}`;
}
