import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Stored } from './object.ts';
import { type Change, ObjectStore } from './store.ts';
import { ModelCollection, type Thing } from './testing/model-collection.ts';

const identity = (object: Stored<Thing>) =>
  `${object.metadata.name} ${object.metadata.uid} ${object.metadata.resourceVersion}`;

function contents(store: ObjectStore<Thing, 'value'>): string[] {
  return store.list().map(identity).sort();
}

function must(object: Stored<Thing> | undefined): Stored<Thing> {
  if (object === undefined) throw new Error('the model has no such object');
  return object;
}

const newStore = () => new ObjectStore<Thing, 'value'>({ value: (thing) => [String(thing.spec.value)] });

const kinds = (changes: Change<Thing>[]) => changes.map((change) => change.type);

describe('the store of an informer', () => {
  test('shows a delete and re-create between two lists as a deletion and an addition', () => {
    const server = new ModelCollection();
    const store = newStore();
    const first = must(server.create('a'));
    store.replace(server.list(), server.resourceVersion);
    server.delete('a');
    const second = must(server.create('a'));
    const changes = store.replace(server.list(), server.resourceVersion);
    expect(changes.map((change) => [change.type, change.object.metadata.uid])).toEqual([
      ['deleted', first.metadata.uid],
      ['added', second.metadata.uid],
    ]);
  });

  test('counts what was learned before the watch shows it, and is not set back by older events', () => {
    const server = new ModelCollection();
    const store = newStore();
    server.create('a', 1);
    store.replace(server.list(), server.resourceVersion);
    const from = server.resourceVersion;
    server.modify('a', 2);
    const learned = must(server.modify('a', 3));
    expect(kinds(store.learn(learned))).toEqual(['updated']);
    const seen = server.since(from).flatMap((event) => store.apply(event.type, event.object));
    expect(seen).toEqual([]);
    expect(store.get({ namespace: 'default', name: 'a' })?.spec.value).toBe(3);
  });

  test('keeps a learned object that an older event takes out of the selection', () => {
    const server = new ModelCollection((thing) => thing.spec.value !== 2);
    const store = newStore();
    server.create('a', 1);
    store.replace(server.list(), server.resourceVersion);
    const from = server.resourceVersion;
    server.modify('a', 2);
    store.learn(must(server.modify('a', 3)));
    const changes = server.since(from).flatMap((event) => store.apply(event.type, event.object));
    expect(changes).toEqual([]);
    expect(contents(store)).toEqual(server.list().map(identity));
  });

  test('ignores an answer that arrives after the watch has shown the deletion', () => {
    const server = new ModelCollection();
    const store = newStore();
    const created = must(server.create('a', 1));
    server.delete('a');
    store.replace([], '10');
    for (const event of server.since('10')) store.apply(event.type, event.object);
    expect(store.learn(created)).toEqual([]);
    expect(store.size).toBe(0);
  });

  test('does not bring back an object whose last finalizer it was seen to lose', () => {
    const server = new ModelCollection();
    const store = newStore();
    server.create('a', 1, ['x/y']);
    store.replace(server.list(), server.resourceVersion);
    const from = server.resourceVersion;
    server.delete('a');
    const answer = must(server.removeFinalizers('a'));
    expect(kinds(store.learn(answer))).toEqual(['deleted']);
    const changes = server.since(from).flatMap((event) => store.apply(event.type, event.object));
    expect(changes).toEqual([]);
    expect(store.size).toBe(0);
  });

  test('nor when a list from before its deletion, or from before its creation, comes in between', () => {
    const server = new ModelCollection();
    const store = newStore();
    server.create('b');
    const beforeCreation = server.resourceVersion;
    store.replace([], '10');
    store.learn(must(server.create('a', 1, ['x/y'])));
    server.delete('a');
    server.modify('b', 1);
    const beforeDeletion = server.resourceVersion;
    expect(kinds(store.learn(must(server.removeFinalizers('a'))))).toEqual(['deleted']);
    const changes = [
      ...store.replace(server.list(beforeCreation), beforeCreation),
      ...server
        .since(beforeCreation)
        .slice(0, 3)
        .flatMap((event) => store.apply(event.type, event.object)),
      ...store.replace(server.list(beforeDeletion), beforeDeletion),
      ...server.since(beforeDeletion).flatMap((event) => store.apply(event.type, event.object)),
    ];
    expect(changes.filter((change) => change.object.metadata.name === 'a')).toEqual([]);
    expect(contents(store)).toEqual(server.list().map(identity));
  });

  test('lets go of a learned object that the watch never shows, once it is past it', () => {
    const server = new ModelCollection();
    const store = newStore();
    store.replace([], server.resourceVersion);
    expect(kinds(store.learn(must(server.create('a'))))).toEqual(['added']);
    server.elsewhere();
    expect(kinds(store.bookmark(server.resourceVersion))).toEqual(['deleted']);
  });

  test('starts afresh where the history of the server went back', () => {
    const server = new ModelCollection();
    const store = newStore();
    store.replace([], '500');
    store.learn({
      ...must(server.create('a')),
      metadata: { ...must(server.get('a')).metadata, resourceVersion: '600' },
    });
    store.replace(server.list(), server.resourceVersion);
    expect(contents(store)).toEqual(server.list().map(identity));
    expect(store.position).toBe(server.resourceVersion);
  });

  test('learns nothing where resourceVersions are no numbers, and follows events all the same', () => {
    const server = new ModelCollection();
    const store = newStore();
    const thing = must(server.create('a', 1));
    const at = (resourceVersion: string, value: number): Stored<Thing> => ({
      ...thing,
      spec: { value },
      metadata: { ...thing.metadata, resourceVersion },
    });
    store.replace([at('abc', 1)], 'abc');
    expect(store.learn(at('abd', 2))).toEqual([]);
    expect(kinds(store.apply('MODIFIED', at('aaa', 3)))).toEqual(['updated']);
    expect(store.position).toBe('aaa');
  });

  test('keeps indexes in step, also with several values and with values that change', () => {
    const store = new ObjectStore<Thing, 'tags'>({
      tags: (thing) => (thing.spec.value === 0 ? [] : ['any', String(thing.spec.value)]),
    });
    const server = new ModelCollection();
    store.replace([must(server.create('a', 0)), must(server.create('b', 7))], server.resourceVersion);
    expect(store.by('tags', 'any').map((thing) => thing.metadata.name)).toEqual(['b']);
    store.apply('MODIFIED', must(server.modify('a', 7)));
    expect(store.by('tags', '7')).toHaveLength(2);
    store.apply('MODIFIED', must(server.modify('b', 8)));
    expect(store.by('tags', '7').map((thing) => thing.metadata.name)).toEqual(['a']);
    expect(store.by('tags', 'nobody')).toEqual([]);
  });

  test('hands out objects that cannot be changed, without managed fields', () => {
    const server = new ModelCollection();
    const store = newStore();
    const thing = must(server.create('a', 1));
    const metadata = { ...thing.metadata, managedFields: [{ manager: 'x' }] };
    store.replace([{ ...thing, metadata }], server.resourceVersion);
    const stored = must(store.get({ namespace: 'default', name: 'a' }));
    expect(stored.metadata).not.toHaveProperty('managedFields');
    expect(() => {
      stored.spec.value = 2;
    }).toThrow(TypeError);
  });
});

/** What happens to the server, and what reaches the store, in any order that can happen. */
type Step =
  | { readonly do: 'create' | 'finalized' | 'modify' | 'delete' | 'removeFinalizers'; readonly name: string }
  | {
      readonly do: 'elsewhere' | 'deliver' | 'bookmark' | 'relist' | 'staleRelist' | 'answer' | 'lateAnswer';
    };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 3, arbitrary: fc.constant<Step>({ do: 'deliver' }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('answer', 'lateAnswer') }) },
  fc.record({
    do: fc.constantFrom('create', 'finalized', 'modify', 'delete', 'removeFinalizers'),
    name: fc.constantFrom('a', 'b', 'c'),
  }),
  fc.record({ do: fc.constantFrom('elsewhere', 'bookmark', 'relist', 'staleRelist') }),
);

/** Plays steps: the watch lags behind, answers to writes arrive late and in any order. */
class Play {
  readonly server: ModelCollection;
  readonly store = newStore();
  readonly changes: Change<Thing>[] = [];
  readonly answers: Stored<Thing>[] = [];
  #position: string;

  constructor(selects?: (thing: Thing) => boolean) {
    this.server = new ModelCollection(selects);
    this.#position = this.server.resourceVersion;
    this.store.replace([], this.#position);
  }

  run(next: Step): void {
    if ('name' in next) {
      const answer = this.#write(next);
      if (answer !== undefined) this.answers.push(answer);
    } else if (next.do === 'elsewhere') this.server.elsewhere();
    else if (next.do === 'deliver') this.deliver(1);
    else if (next.do === 'answer') this.learn(this.answers.shift());
    else if (next.do === 'lateAnswer') this.learn(this.answers.pop());
    else if (next.do === 'bookmark') this.#bookmark();
    else if (next.do === 'relist') this.relist(this.server.resourceVersion);
    else this.relist(this.#halfway());
  }

  deliver(count: number): void {
    for (const event of this.server.since(this.#position).slice(0, count)) {
      this.#position = event.object.metadata.resourceVersion;
      this.changes.push(...this.store.apply(event.type, structuredClone(event.object)));
    }
  }

  learn(answer: Stored<Thing> | undefined): void {
    if (answer !== undefined) this.changes.push(...this.store.learn(answer));
  }

  relist(at: string): void {
    this.#position = at;
    this.changes.push(...this.store.replace(this.server.list(at), at));
  }

  /** A list may be older than the latest write, but not older than what the watch has shown. */
  #halfway(): string {
    const ahead = this.server.since(this.#position);
    return ahead[Math.floor((ahead.length - 1) / 2)]?.object.metadata.resourceVersion ?? this.#position;
  }

  #bookmark(): void {
    if (this.server.since(this.#position).length > 0) return;
    this.#position = this.server.resourceVersion;
    this.changes.push(...this.store.bookmark(this.#position));
  }

  #write(next: Extract<Step, { name: string }>): Stored<Thing> | undefined {
    const { server } = this;
    switch (next.do) {
      case 'create':
        return server.create(next.name);
      case 'finalized':
        return server.create(next.name, 0, ['x/y']);
      case 'modify':
        return server.modify(next.name, server.get(next.name)?.spec.value === 1 ? 2 : 1);
      case 'removeFinalizers':
        return server.removeFinalizers(next.name);
      default:
        server.delete(next.name);
        return undefined;
    }
  }
}

/** Handlers see each object come once, grow newer, and go once; nothing that went comes back. */
function checkChanges(changes: readonly Change<Thing>[]): void {
  const present = new Map<string, Stored<Thing>>();
  const gone = new Set<string>();
  for (const change of changes) {
    const { uid, name } = change.object.metadata;
    if (change.type === 'added') {
      expect(present.has(name)).toBe(false);
      expect(gone.has(uid)).toBe(false);
      present.set(name, change.object);
    } else if (change.type === 'updated') {
      expect(present.get(name)).toBe(change.old);
      expect(change.old.metadata.uid).toBe(uid);
      expect(Number(change.object.metadata.resourceVersion)).toBeGreaterThan(
        Number(change.old.metadata.resourceVersion),
      );
      present.set(name, change.object);
    } else {
      expect(present.get(name)?.metadata.uid).toBe(uid);
      present.delete(name);
      gone.add(uid);
    }
  }
}

describe('whatever the order of events, lists and answers', () => {
  test('the store converges to the server, and handlers are told a story that can be true', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
        const play = new Play();
        for (const next of steps) play.run(next);
        play.deliver(Number.POSITIVE_INFINITY);
        play.changes.push(...play.store.bookmark(play.server.resourceVersion));
        while (play.answers.length > 0) play.learn(play.answers.pop());
        expect(contents(play.store)).toEqual(play.server.list().map(identity).sort());
        checkChanges(play.changes);
        for (const value of ['0', '1', '2']) {
          const indexed = play.store.by('value', value).map(identity).sort();
          const expected = play.server.list().filter((thing) => String(thing.spec.value) === value);
          expect(indexed).toEqual(expected.map(identity).sort());
        }
      }),
      { numRuns: 1000 },
    );
  });

  test('the store converges to what a selector selects, although answers do not know of it', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
        const play = new Play((thing) => thing.spec.value !== 2);
        for (const next of steps) play.run(next);
        play.deliver(Number.POSITIVE_INFINITY);
        play.changes.push(...play.store.bookmark(play.server.resourceVersion));
        while (play.answers.length > 0) play.learn(play.answers.pop());
        expect(contents(play.store)).toEqual(play.server.list().map(identity).sort());
      }),
      { numRuns: 1000 },
    );
  });

  test('what was written last is what is read next, as soon as the answer is in', () => {
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 40, size: 'max' }),
        fc.constantFrom('a', 'b', 'c'),
        (steps, name) => {
          const play = new Play();
          for (const next of steps) play.run(next);
          const answer = play.server.modify(name, 9) ?? must(play.server.create(name, 9));
          play.store.learn(answer);
          expect(play.store.get(answer.metadata)?.metadata.resourceVersion).toBe(
            answer.metadata.resourceVersion,
          );
          play.deliver(1);
          expect(play.store.get(answer.metadata)?.metadata.resourceVersion).toBe(
            answer.metadata.resourceVersion,
          );
        },
      ),
      { numRuns: 500 },
    );
  });
});
