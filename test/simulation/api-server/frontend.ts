import type { ListPage, ListPageOptions, WatchOptions } from '../../../kube/client.ts';
import { ApiUnreachable } from '../../../kube/errors.ts';
import type { KubeObject } from '../../../kube/object.ts';
import type { Random } from '../random.ts';
import type { Timeline } from '../timeline.ts';
import type { Link } from './link.ts';
import { selects } from './selectors.ts';
import type { ApiServer, Commit } from './server.ts';
import { WatchStream } from './watch-stream.ts';

/** How old the watch cache may be that answers reads which allow it. */
const CACHE_LAG_REVISIONS = 20;
/** Of several API servers one may know less than the others when a watch is opened there. */
const BEHIND = { chance: 0.15, mostMs: 3_000 } as const;
const BOOKMARK_EVERY_MS = { least: 55_000, most: 65_000 } as const;

/** The part of an API server that has connections: it goes down and comes back, and what it serves can be old. */
export class Frontend {
  readonly server: ApiServer;
  isUp = true;
  readonly #timeline: Timeline;
  readonly #random: Random;
  /** Open watches by kind. */
  readonly #streams = new Map<string, Set<WatchStream>>();

  constructor(server: ApiServer, timeline: Timeline, random: Random) {
    this.server = server;
    this.#timeline = timeline;
    this.#random = random;
    server.observers.add((commit) => this.#tell(commit));
  }

  /** All connections break. */
  goDown(): void {
    this.isUp = false;
    this.dropWatches();
  }

  /** Breaks open watches: all, or those of one link. */
  dropWatches(): void {
    const reset = new ApiUnreachable('https://api', 'Reset', 'connection reset');
    for (const streams of this.#streams.values()) for (const stream of [...streams]) stream.end(reset);
  }

  listPage(kind: string, options: ListPageOptions): ListPage<KubeObject> {
    const { server } = this;
    const { revision, start } = this.#pageStart(options);
    const isSelected = selects(server.kind(kind), options);
    const all = (revision === server.revision ? server.list(kind) : server.listAt(kind, revision)).filter(
      isSelected,
    );
    const end = start + (options.limit ?? all.length);
    return {
      items: all.slice(start, end),
      resourceVersion: String(revision),
      continueToken: end < all.length ? `${revision} ${end}` : undefined,
    };
  }

  openWatch(kind: string, options: WatchOptions, link: Link): WatchStream {
    const { server } = this;
    const isSelected = selects(server.kind(kind), options);
    const missed = options.initialEvents ? [] : server.since(kind, Number(options.resourceVersion));
    const streams = this.#streams.get(kind) ?? new Set();
    this.#streams.set(kind, streams);
    const stream: WatchStream = new WatchStream({
      timeline: this.#timeline,
      link,
      selects: isSelected,
      revision: () => server.revision,
      timeoutSeconds: options.timeoutSeconds,
      behindMs: this.#random.chance(BEHIND.chance) ? this.#random.int(1, BEHIND.mostMs) : 0,
      bookmarkEveryMs: this.#random.int(BOOKMARK_EVERY_MS.least, BOOKMARK_EVERY_MS.most),
      onContact: options.onContact,
      onClose: () => streams.delete(stream),
    });
    streams.add(stream);
    if (options.initialEvents) {
      for (const object of server.list(kind).filter(isSelected)) stream.send({ type: 'ADDED', object });
      stream.send({ type: 'BOOKMARK', resourceVersion: String(server.revision), initialEventsEnd: true });
    }
    for (const commit of missed) stream.offer(commit);
    return stream;
  }

  /** Reads that allow it are served from a cache that lags behind. */
  #pageStart({ resourceVersion, continueToken }: ListPageOptions): { revision: number; start: number } {
    const now = this.server.revision;
    if (continueToken !== undefined) {
      const [revision = now, start = 0] = continueToken.split(' ').map(Number);
      return { revision, start };
    }
    if (resourceVersion === undefined) return { revision: now, start: 0 };
    const oldest = Math.max(Number(resourceVersion), now - CACHE_LAG_REVISIONS);
    return { revision: this.#random.int(Math.min(oldest, now), now), start: 0 };
  }

  #tell(commit: Commit): void {
    for (const stream of this.#streams.get(commit.kind.kind) ?? []) stream.offer(commit);
  }
}
