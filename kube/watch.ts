import { ApiUnreachable, apiErrorFromStatus } from './errors.ts';
import type { KubeObject, Stored } from './object.ts';

/** One event of a watch. ERROR events are thrown as ApiError instead. */
export type WatchEvent<T extends KubeObject> =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: Stored<T> }
  | {
      readonly type: 'BOOKMARK';
      readonly resourceVersion: string;
      /** The streaming list is complete: all objects have been sent. */
      readonly initialEventsEnd: boolean;
    };

/** etcd refuses objects of more than 1.5 MiB; JSON and managed fields may add to that. */
const MAX_LINE_BYTES = 32 * 1024 * 1024;
const NEWLINE = 0x0a;

/**
 * Events of a watch's body: one JSON document per line. Throws ApiError for an ERROR event, and ApiUnreachable
 * with reason `Garbled` for what cannot be understood: nothing is skipped, since a skipped event is a lost one.
 */
export async function* parseWatchStream<T extends KubeObject>(
  server: string,
  chunks: AsyncIterable<Uint8Array>,
  onContact?: () => void,
): AsyncGenerator<WatchEvent<T>, void> {
  let partial: Uint8Array[] = [];
  let partialBytes = 0;
  for await (const chunk of chunks) {
    onContact?.();
    let start = 0;
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      partial.push(chunk.subarray(start, end));
      const line = Buffer.concat(partial).toString('utf8');
      partial = [];
      partialBytes = 0;
      start = end + 1;
      if (line.trim() !== '') yield parseEvent<T>(server, line);
    }
    if (start < chunk.length) {
      partial.push(chunk.subarray(start));
      partialBytes += chunk.length - start;
      if (partialBytes > MAX_LINE_BYTES) throw garbled(server, 'an event of more than 32 MiB');
    }
  }
  if (partialBytes > 0) throw garbled(server, 'the watch ended in the middle of an event');
}

function parseEvent<T extends KubeObject>(server: string, line: string): WatchEvent<T> {
  let event: { type?: unknown; object?: unknown } | null;
  try {
    event = JSON.parse(line) as typeof event;
  } catch {
    throw garbled(server, 'an event of the watch is not JSON');
  }
  if (event?.type === 'ERROR') throw apiErrorFromStatus(event.object, 500);
  const object = event?.object as Stored<T> | undefined;
  const resourceVersion = object?.metadata?.resourceVersion;
  if (object === undefined || typeof resourceVersion !== 'string') {
    throw garbled(server, 'an event of the watch has no resourceVersion');
  }
  switch (event?.type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED':
      return { type: event.type, object };
    case 'BOOKMARK': {
      const initialEventsEnd = object.metadata.annotations?.['k8s.io/initial-events-end'] === 'true';
      return { type: 'BOOKMARK', resourceVersion, initialEventsEnd };
    }
    default:
      throw garbled(server, `an event of the watch has the unknown type ${String(event?.type)}`);
  }
}

function garbled(server: string, what: string): ApiUnreachable {
  return new ApiUnreachable(server, 'Garbled', what);
}
