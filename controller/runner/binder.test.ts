import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { hasFailed, isOver, withFailure } from '../../crds/attempts.ts';
import type { Host } from '../../crds/host.ts';
import { finalizerName } from '../../crds/meta.ts';
import type { Binding, Runner } from '../../crds/runner.ts';
import type { RunnerClass } from '../../crds/runner-class.ts';
import type { Template } from '../../crds/template.ts';
import type { Stored } from '../../kube/object.ts';
import { linuxHost } from '../../test/builders/host.ts';
import { type Overrides, withOverrides } from '../../test/builders/overrides.ts';
import { binding, runner } from '../../test/builders/runner.ts';
import { defaultRunnerClass, runnerClass } from '../../test/builders/runner-class.ts';
import { stored } from '../../test/builders/stored.ts';
import { template } from '../../test/builders/template.ts';
import { Binder, isPending } from './binder.ts';
import { defaultClasses } from './demand.ts';
import { hostFacts } from './facts.ts';
import { type BoundHost, claimsOf } from './ledger.ts';
import { misfit, NO_USAGE, type PlacementPolicy } from './place.ts';

const REJUDGE_AFTER_MS = 30_000;
/** What the wall clock shows at the beginning. */
const START = Date.parse('2026-01-01T00:00:00Z');

/** A binder and the objects that its catalogue is of. */
class World {
  readonly templates = new Map<string, Template>([['linux', template()]]);
  readonly classes = new Map<string, RunnerClass>([['small', runnerClass()]]);
  readonly binder: Binder;
  /** Hosts by name that are not there. */
  readonly boundHosts = new Map<string, BoundHost>();
  /** The binder's monotonic time. */
  now = 0;

  constructor(policy: PlacementPolicy = 'spread') {
    this.binder = new Binder({
      policy,
      rejudgeAfterMs: REJUDGE_AFTER_MS,
      boundHost: ({ spec }) => this.boundHosts.get(spec.binding?.hostName ?? '') ?? 'there',
      clock: { now: () => START + this.now, monotonic: () => this.now },
      catalogue: {
        template: (name) => this.templates.get(name),
        runnerClass: (name) => this.classes.get(name),
        defaultClass: () => defaultClasses(this.classes.values())[0],
      },
    });
  }

  host(name: string, runners: number, overrides?: Overrides<Host>): Stored<Host> {
    const host = linuxHost({ metadata: { name, uid: `uid-${name}` }, status: { allocatable: { runners } } });
    const object = stored(withOverrides(host, overrides));
    this.binder.hostChanged(hostFacts(object, 'heard'));
    return object;
  }

  runner(name: string, createdSecond = 0, overrides?: Overrides<Runner>): Stored<Runner> {
    const creationTimestamp = new Date(createdSecond * 1000).toISOString();
    const object = stored(
      runner({
        ...overrides,
        metadata: { name, uid: `uid-${name}`, creationTimestamp, ...overrides?.metadata },
      }),
    );
    this.binder.runnerChanged(object);
    return object;
  }

  /** Names of the Runners that are matched now, each with its host. */
  bindAll(now = 0): string[] {
    const matches: string[] = [];
    for (let match = this.binder.next(now); match !== undefined; match = this.binder.next(now)) {
      matches.push(`${match.runner.metadata.name}@${match.host.name}`);
    }
    return matches;
  }

  message(name: string): string | undefined {
    return this.binder.verdict(`uid-${name}`)?.message;
  }
}

function asBound(object: Stored<Runner>, host: Host, resources?: Binding['resources']): Stored<Runner> {
  const attempt = (object.spec.binding?.attempt ?? 0) + 1;
  const finalizers = [...(object.metadata.finalizers ?? []), finalizerName(host.metadata.name, attempt)];
  return {
    ...object,
    metadata: { ...object.metadata, finalizers },
    spec: { ...object.spec, binding: binding(host, { attempt, ...(resources && { resources }) }) },
  };
}

/** The bound attempt is recorded as failed; its finalizer stands. */
function asFailed(object: Stored<Runner>, finishedAt = START, reason = 'CloneFailed'): Stored<Runner> {
  const { attempt = 1, hostName = '' } = object.spec.binding ?? {};
  const failed = { attempt, hostName, reason, message: 'no', finishedAt: new Date(finishedAt).toISOString() };
  const attempts = withFailure(object.status?.attempts, failed);
  return { ...object, status: { observedGeneration: 2, phase: 'Pending', attempt, attempts } };
}

const asLetGo = (object: Stored<Runner>): Stored<Runner> => ({
  ...object,
  metadata: { ...object.metadata, finalizers: [] },
});

describe('binding', () => {
  let world: World;
  beforeEach(() => {
    world = new World();
  });

  test('is oldest first, then by UID', () => {
    world.runner('young', 20);
    world.runner('old-b', 10);
    world.runner('old-a', 10);
    world.host('h', 1000);
    expect(world.bindAll()).toEqual(['old-a@h', 'old-b@h', 'young@h']);
  });

  test('counts a match at once, and again no more than once when the object shows it', () => {
    const host = world.host('h', 3);
    const runners = [1, 2, 3, 4].map((second) => world.runner(`r${second}`, second));
    expect(world.bindAll()).toEqual(['r1@h', 'r2@h', 'r3@h']);
    for (const object of runners.slice(0, 3)) world.binder.runnerChanged(asBound(object, host));
    expect(world.bindAll()).toEqual([]);
    expect(world.message('r4')).toBe('1 host: 1 full');
  });

  test('passes over one that is withheld until it changes, and counts what that one holds', () => {
    const host = world.host('h', 1);
    const withheld = world.runner('r', 1);
    world.binder.runnerWithheld(withheld);
    expect(world.binder.waiting).toBe(0);
    expect(world.bindAll()).toEqual([]);
    world.binder.runnerWithheld(asBound(withheld, host));
    world.runner('next', 2);
    expect(world.bindAll()).toEqual([]);
    expect(world.message('next')).toBe('1 host: 1 full');
    world.binder.runnerChanged(withheld);
    expect(world.bindAll()).toEqual(['r@h']);
  });

  test('does not take up a matched Runner again when an older event of it comes late', () => {
    world.host('h', 3);
    const object = world.runner('r', 1);
    expect(world.bindAll()).toEqual(['r@h']);
    world.binder.runnerChanged(object);
    expect(world.bindAll()).toEqual([]);
  });

  test('offers a freed slot to the oldest, when the finalizer is gone and not before', () => {
    const host = world.host('h', 1);
    const first = world.runner('first', 1);
    expect(world.bindAll()).toEqual(['first@h']);
    world.runner('third', 3);
    world.runner('second', 2);
    const bound = asBound(first, host);
    world.binder.runnerChanged(bound);
    const over = { ...bound, status: { observedGeneration: 2, phase: 'Finished' as const } };
    world.binder.runnerChanged(over);
    expect(world.bindAll()).toEqual([]);
    world.binder.runnerChanged({ ...over, metadata: { ...over.metadata, finalizers: [] } });
    expect(world.bindAll()).toEqual(['second@h']);
  });

  test('an old Runner that does not fit blocks no younger one that does', () => {
    world.classes.set('huge', runnerClass({ metadata: { name: 'huge' }, spec: { memory: '512Gi' } }));
    world.host('h', 1000);
    world.runner('huge', 1, { spec: { className: 'huge' } });
    world.runner('small', 2);
    expect(world.bindAll()).toEqual(['small@h']);
    expect(world.message('huge')).toBe('1 host: 1 too small for class huge');
  });

  test.each([
    ['that is dying', { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } }],
    ['that is over', { status: { phase: 'Error' as const } }],
  ])('leaves out a Runner %s', (_what, overrides: Overrides<Runner>) => {
    world.host('h', 3);
    world.runner('r', 1, overrides);
    expect(world.bindAll()).toEqual([]);
  });

  test('forgets a Runner that vanished while it waited', () => {
    world.runner('r', 1);
    world.binder.runnerGone('uid-r');
    world.host('h', 3);
    expect(world.bindAll()).toEqual([]);
    expect(world.binder.waiting).toBe(0);
  });
});

describe('a Runner that waits is bound when', () => {
  let world: World;
  beforeEach(() => {
    world = new World();
  });

  test('its template appears', () => {
    world.host('h', 3, {
      status: {
        templates: [
          {
            ...template({}).spec.source.bundle,
            digest: `sha256:${'1'.repeat(64)}`,
            name: 'late',
            os: 'linux',
            arch: 'amd64',
          },
        ],
      },
    });
    world.runner('r', 1, { spec: { templateName: 'late' } });
    expect(world.bindAll()).toEqual([]);
    expect(world.binder.verdict('uid-r')).toEqual({
      reason: 'TemplateNotFound',
      message: 'Template late does not exist',
    });
    world.templates.set(
      'late',
      template({ metadata: { name: 'late' }, spec: { source: { bundle: { name: 'late' } } } }),
    );
    world.binder.templateChanged('late');
    expect(world.bindAll()).toEqual(['r@h']);
  });

  test('its class appears', () => {
    world.host('h', 3);
    world.runner('r', 1, { spec: { className: 'late' } });
    expect(world.bindAll()).toEqual([]);
    const late = runnerClass({ metadata: { name: 'late' } });
    world.classes.set('late', late);
    world.binder.classChanged(late);
    expect(world.bindAll()).toEqual(['r@h']);
  });

  test('a default class appears', () => {
    world.host('h', 3);
    world.runner('r', 1, { spec: { className: undefined } });
    expect(world.bindAll()).toEqual([]);
    expect(world.message('r')).toContain('no className and no default class');
    const late = defaultRunnerClass({ metadata: { name: 'late' } });
    world.classes.set('late', late);
    world.binder.classChanged(late);
    expect(world.bindAll()).toEqual(['r@h']);
  });

  test('a host gets the label, is uncordoned, or becomes ready', () => {
    world.host('h', 3, { spec: { unschedulable: true } });
    world.runner('r', 1, { spec: { hostSelector: { zone: 'a' } } });
    expect(world.bindAll()).toEqual([]);
    world.host('h', 3, { spec: { unschedulable: true }, metadata: { labels: { zone: 'a' } } });
    expect(world.bindAll()).toEqual([]);
    world.host('h', 3, { metadata: { labels: { zone: 'a' } } });
    expect(world.bindAll()).toEqual(['r@h']);
  });

  test('a match came to nothing and it is let try again', () => {
    world.host('h', 1);
    const object = world.runner('r', 1);
    expect(world.bindAll()).toEqual(['r@h']);
    world.binder.release('uid-r', { reason: 'BindingRefused', message: 'no' });
    expect(world.bindAll(), 'not before it is let').toEqual([]);
    expect(world.message('r')).toBe('no');
    world.binder.retry('uid-r', object);
    expect(world.bindAll()).toEqual(['r@h']);
  });
});

describe('a Runner of which a start has failed', () => {
  let world: World;
  let a: Stored<Host>;
  beforeEach(() => {
    world = new World();
    a = world.host('a', 3);
  });
  const failed = (host = a, at = START): Stored<Runner> => {
    const object = asLetGo(asFailed(asBound(world.runner('r', 1), host), at));
    world.binder.runnerChanged(object);
    return object;
  };

  test('is bound anew at once where another host fits, with the next attempt', () => {
    world.host('b', 3);
    failed();
    expect(world.binder.next(0)).toMatchObject({ host: { name: 'b' }, attempt: 2 });
  });

  test('rests where no other host fits, then is bound to the same', () => {
    failed();
    expect(world.bindAll(999)).toEqual([]);
    expect(world.binder.verdict('uid-r')).toEqual({
      reason: 'BackingOff',
      message: '1 host: 1 on which a start has just failed',
    });
    expect(world.binder.rejudge(999)).toBe(1);
    expect(world.bindAll(1_000)).toEqual(['r@a']);
  });

  test('rests longer after each failure, and not for ever where the clocks differ', () => {
    const once = failed(a, START + 3_600_000);
    world.binder.runnerChanged(asLetGo(asFailed(asBound(once, a), START + 3_600_000)));
    expect(world.bindAll(1_999)).toEqual([]);
    expect(world.bindAll(2_000)).toEqual(['r@a']);
  });

  test('rests for its due where the clock of its host is behind', () => {
    failed(a, START - 3_600_000);
    expect(world.bindAll(999)).toEqual([]);
    expect(world.bindAll(1_000)).toEqual(['r@a']);
  });

  test('that an earlier controller saw fail rests for what is left, by the wall clock', () => {
    world.now = 5_000;
    const object = asLetGo(
      asFailed(asBound(stored(runner({ metadata: { name: 'r', uid: 'uid-r' } })), a), START + 4_600),
    );
    world.binder.runnerChanged(object);
    expect(world.bindAll(5_599)).toEqual([]);
    expect(world.bindAll(5_600)).toEqual(['r@a']);
  });

  test('is not handed round without a pause, however many hosts send it back', () => {
    for (let n = 0; n < 30; n += 1) world.host(`h${n}`, 3);
    let object = world.runner('r', 1);
    let bindings = 0;
    for (; world.now < 600_000; world.now += 100) {
      const match = world.binder.next(world.now);
      if (match === undefined) continue;
      bindings += 1;
      const host = linuxHost({ metadata: { name: match.host.name, uid: match.host.uid } });
      const reason = 'OutOfCapacity';
      object = asLetGo(asFailed(asBound(object, host), START + world.now, reason));
      world.binder.runnerChanged(object);
    }
    expect(bindings).toBeLessThanOrEqual(20 + 10);
    expect(bindings, 'and tried on').toBeGreaterThan(20 + 5);
  });

  test('prefers hosts on which none has failed, however taken they are', () => {
    const b = world.host('b', 3);
    world.binder.runnerChanged(asBound(world.runner('other', 0), b));
    failed();
    expect(world.bindAll(60_000)).toEqual(['r@b']);
  });

  test('does not hold up others that ask for the same', () => {
    failed();
    world.runner('young', 9);
    expect(world.bindAll(0)).toEqual(['young@a']);
  });

  test('takes its slot along until the finalizer of that attempt is gone', () => {
    const full = world.host('a', 1);
    const object = asFailed(asBound(world.runner('r', 1), full));
    world.binder.runnerChanged(object);
    expect(world.bindAll(60_000)).toEqual([]);
    world.binder.runnerChanged(asLetGo(object));
    expect(world.bindAll(60_000)).toEqual(['r@a']);
  });

  test.each([
    ['whose starts are used up', { spec: { startAttempts: 1 } }],
    ['that has passed the gate', { status: { scriptAttempt: 1 } }],
    ['that is being deleted', { metadata: { deletionTimestamp: '2026-01-01T00:00:00Z' } }],
    ['that is over', { status: { phase: 'Error' as const } }],
  ])('%s is not bound anew', (_, overrides: Overrides<Runner>) => {
    const object = withOverrides(failed(), overrides);
    world.binder.runnerChanged(stored(object));
    expect(world.bindAll(60_000)).toEqual([]);
    expect(world.binder.waiting).toBe(0);
  });

  test('for want of room only is bound anew however often that happens', () => {
    let object = world.runner('r', 1);
    for (let time = 1; time <= 9; time += 1) {
      object = asLetGo(asFailed(asBound(object, a), START, 'OutOfCapacity'));
    }
    world.binder.runnerChanged(object);
    expect(world.bindAll(60_000)).toEqual(['r@a']);
  });
});

describe('a Runner whose host is lost', () => {
  let world: World;
  let a: Stored<Host>;
  let bound: Stored<Runner>;
  beforeEach(() => {
    world = new World();
    a = world.host('a', 1);
    bound = asBound(world.runner('r', 1), a);
    world.binder.runnerChanged(bound);
  });
  /** As its Lease tells. */
  const lose = (object = bound): void => {
    world.binder.hostChanged(hostFacts(a, 'lost'));
    world.boundHosts.set('a', 'lost');
    world.binder.runnerChanged(object);
  };

  test('is bound elsewhere, with the next attempt, and holds its slot on both', () => {
    world.host('b', 1);
    lose();
    expect(world.binder.next(0)).toMatchObject({ host: { name: 'b' }, attempt: 2 });
    world.binder.hostChanged(hostFacts(a, 'heard'));
    world.runner('next', 9);
    expect(world.bindAll()).toEqual([]);
    expect(world.message('next')).toBe('2 hosts: 2 full');
  });

  test('waits where no other host fits, and is left alone once the host is back', () => {
    lose();
    expect(world.bindAll()).toEqual([]);
    expect(world.message('r')).toBe('1 host: 1 not ready');
    world.binder.hostChanged(hostFacts(a, 'heard'));
    world.boundHosts.clear();
    world.binder.runnerChanged(bound);
    world.host('b', 1);
    expect(world.bindAll()).toEqual([]);
    expect(world.binder.waiting).toBe(0);
  });

  test('stays where it is once the gate is passed', () => {
    world.host('b', 1);
    lose({ ...bound, status: { observedGeneration: 2, phase: 'Running', attempt: 1, scriptAttempt: 1 } });
    expect(world.bindAll()).toEqual([]);
    expect(world.binder.waiting).toBe(0);
  });

  test('is bound to the host of that name that was made anew, once nothing holds the old one', () => {
    world.boundHosts.set('a', 'gone');
    world.binder.runnerChanged(bound);
    expect(world.bindAll()).toEqual([]);
    world.binder.runnerChanged(asLetGo(bound));
    expect(world.bindAll()).toEqual(['r@a']);
  });
});

describe('what is said of Runners that wait', () => {
  const told = (world: World): string[] =>
    world.binder.takeReworded().map(({ metadata }) => `${metadata.name}: ${world.message(metadata.name)}`);

  test('is told once, to each, and again only when it reads differently', () => {
    const world = new World();
    world.runner('a', 1);
    world.runner('b', 2);
    world.bindAll(0);
    expect(told(world)).toEqual(['a: there are no hosts', 'b: there are no hosts']);
    world.runner('c', 3);
    world.bindAll(1);
    expect(told(world)).toEqual(['c: there are no hosts']);
    world.bindAll(2);
    expect(told(world)).toEqual([]);
  });

  test('is judged anew at most once in a while', () => {
    const world = new World();
    world.runner('a', 1);
    world.bindAll(0);
    told(world);
    world.host('h', 3, { spec: { unschedulable: true } });
    expect(world.binder.rejudge(1_000)).toBe(29_000);
    expect(told(world)).toEqual([]);
    expect(world.binder.rejudge(30_000)).toBeUndefined();
    expect(told(world)).toEqual(['a: 1 host: 1 cordoned']);
    world.binder.hostGone({ kind: 'LinuxHost', name: 'h' });
    expect(world.binder.rejudge(70_000)).toBeUndefined();
    expect(told(world)).toEqual(['a: there are no hosts']);
    expect(world.binder.rejudge(200_000)).toBeUndefined();
  });

  test('is up to date for a Runner that is new', () => {
    const world = new World();
    world.runner('a', 1);
    world.bindAll(0);
    world.host('h', 3, { spec: { unschedulable: true } });
    world.bindAll(1_000);
    world.runner('b', 2);
    world.binder.rejudge(2_000);
    expect(world.message('b')).toBe('1 host: 1 cordoned');
  });
});

type Step =
  | { do: 'create'; className: string; zone: string | undefined; second: number }
  | { do: 'finish' | 'fail' | 'letGo' | 'delete' | 'see' | 'seeOld'; at: number }
  | { do: 'write'; succeeds: boolean }
  | { do: 'host'; name: string; runners: number; cordoned: boolean; zone: string }
  | { do: 'removeHost'; name: string };

const hostName = fc.constantFrom('h1', 'h2', 'h3');
const zone = fc.constantFrom('a', 'b');
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constant('create' as const),
        className: fc.constantFrom('small', 'large'),
        zone: fc.option(zone, { nil: undefined }),
        second: fc.nat(5),
      }),
    },
    {
      weight: 4,
      arbitrary: fc.record({
        do: fc.constantFrom('finish', 'fail', 'letGo', 'delete', 'see', 'seeOld' as const),
        at: fc.nat(30),
      }),
    },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('write' as const), succeeds: fc.boolean() }) },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant('host' as const),
        name: hostName,
        runners: fc.integer({ min: 1, max: 3 }),
        cordoned: fc.boolean(),
        zone,
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('removeHost' as const), name: hostName }) },
  ),
  { maxLength: 80 },
);

/**
 * The API server's truth beside a binder that hears of it late: writes are answered after other events, and
 * events of an object come late, twice or out of date.
 */
class Model {
  readonly world = new World();
  readonly hosts = new Map<string, Stored<Host>>();
  /** Most that each host was ever said to take while its name was in use. */
  readonly limits = new Map<string, number>();
  readonly truth: { object: Stored<Runner>; history: Stored<Runner>[]; gone: boolean }[] = [];
  readonly sent: { index: number; bound: Stored<Runner> }[] = [];
  now = 0;

  constructor() {
    this.world.classes.set('large', runnerClass({ metadata: { name: 'large' }, spec: { memory: '16Gi' } }));
  }

  step(step: Step): void {
    this.now += 1;
    switch (step.do) {
      case 'create':
        this.create(step.className, step.zone, step.second);
        break;
      case 'write':
        this.answer(step.succeeds);
        break;
      case 'host':
        this.setHost(step);
        break;
      case 'removeHost':
        if (this.hosts.delete(step.name)) this.world.binder.hostGone({ kind: 'LinuxHost', name: step.name });
        break;
      default:
        this.touch(step.do, step.at);
    }
    this.pump();
  }

  create(className: string, inZone: string | undefined, second: number): void {
    const object = this.world.runner(`r${this.truth.length}`, second, {
      spec: { className, hostSelector: inZone === undefined ? undefined : { zone: inZone } },
    });
    this.truth.push({ object, history: [object], gone: false });
  }

  setHost({ name, runners, cordoned, zone }: Extract<Step, { do: 'host' }>): void {
    const overrides = { metadata: { labels: { zone } }, spec: { unschedulable: cordoned } };
    this.hosts.set(name, this.world.host(name, runners, overrides));
    this.limits.set(name, Math.max(this.limits.get(name) ?? 0, runners));
  }

  touch(what: Extract<Step, { at: number }>['do'], at: number): void {
    const entry = this.truth[at];
    if (entry === undefined || entry.gone) return;
    if (what === 'see') this.world.binder.runnerChanged(entry.object);
    if (what === 'seeOld') {
      const old = entry.history.at(-2);
      if (old !== undefined && old.spec.binding === undefined) this.world.binder.runnerChanged(old);
    }
    if (what === 'fail' && entry.object.spec.binding !== undefined && !isOver(entry.object)) {
      if (!hasFailed(entry.object)) this.become(at, asFailed(entry.object));
    }
    if (what === 'letGo' && hasFailed(entry.object)) this.become(at, asLetGo(entry.object));
    if (what === 'finish' && entry.object.spec.binding !== undefined) {
      const { object } = entry;
      this.become(at, {
        ...object,
        metadata: { ...object.metadata, finalizers: [] },
        status: { observedGeneration: 2, phase: 'Finished' },
      });
    }
    if (what === 'delete' && (entry.object.metadata.finalizers ?? []).length === 0) {
      entry.gone = true;
      this.world.binder.runnerGone(entry.object.metadata.uid);
    }
  }

  become(index: number, object: Stored<Runner>): void {
    const entry = this.truth[index];
    if (entry === undefined) return;
    entry.object = object;
    entry.history.push(object);
    this.world.binder.runnerChanged(object);
  }

  /** The oldest write in flight is answered. */
  answer(succeeds: boolean): void {
    const write = this.sent.shift();
    if (write === undefined) return;
    const entry = this.truth[write.index];
    const { uid } = write.bound.metadata;
    if (entry === undefined || entry.gone || !succeeds) {
      this.world.binder.release(uid);
      this.world.binder.retry(uid, entry?.gone ? undefined : entry?.object);
      return;
    }
    entry.object = write.bound;
    entry.history.push(write.bound);
  }

  pump(): void {
    for (
      let match = this.world.binder.next(this.now);
      match !== undefined;
      match = this.world.binder.next(this.now)
    ) {
      const { runner: object } = match;
      const index = this.truth.findIndex((entry) => entry.object.metadata.uid === object.metadata.uid);
      const host = this.hosts.get(match.host.name);
      if (host === undefined) throw new Error(`matched with ${match.host.name}, which is not there`);
      const resources = {
        cpu: match.demand.amounts.cpu,
        memory: String(match.demand.amounts.memoryBytes),
        disk: '20Gi',
      };
      this.sent.push({ index, bound: asBound(object, host, resources) });
    }
  }

  /** What the host really holds, writes in flight included. A write to a Runner that is gone binds nothing. */
  held(name: string): { runners: number; memoryBytes: number } {
    const objects = this.truth.filter((entry) => !entry.gone).map((entry) => entry.object);
    const coming = this.sent
      .filter(({ index }) => this.truth[index]?.gone === false)
      .flatMap(({ bound }) => claimsOf(bound).slice(-1));
    const claims = [...objects.flatMap((object) => claimsOf(object)), ...coming].filter(
      (claim) => claim.hostName === name,
    );
    return {
      runners: claims.length,
      memoryBytes: claims.reduce((sum, claim) => sum + claim.amounts.memoryBytes, 0),
    };
  }
}

describe('properties, with answers and events that come late', () => {
  test('no host is ever overfilled', () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        const model = new Model();
        for (const step of sequence) {
          model.step(step);
          for (const [name, limit] of model.limits) {
            const { runners, memoryBytes } = model.held(name);
            expect(runners).toBeLessThanOrEqual(limit);
            expect(memoryBytes).toBeLessThanOrEqual(30 * 2 ** 30);
          }
        }
      }),
      { numRuns: 300 },
    );
  });

  test('when nothing is in flight, whoever still waits fits nowhere and says why', () => {
    fc.assert(
      fc.property(steps, (sequence) => {
        const model = new Model();
        for (const step of sequence) model.step(step);
        model.now += 120_000;
        model.pump();
        while (model.sent.length > 0) {
          model.answer(true);
          model.pump();
        }
        for (const { object, gone } of model.truth) {
          if (gone || !isPending(object, 'there')) continue;
          const { uid } = object.metadata;
          expect(model.world.binder.verdict(uid)?.reason).toBe('NoHostFits');
          for (const host of model.hosts.values()) expect(fits(model, object, host)).toBe(false);
        }
      }),
      { numRuns: 300 },
    );
  });
});

function fits(model: Model, object: Stored<Runner>, host: Stored<Host>): boolean {
  const { runners, memoryBytes } = model.held(host.metadata.name);
  const demand = {
    guest: { os: 'linux', arch: 'amd64' } as const,
    bundle: template().spec.source.bundle,
    amounts: {
      cpu: 2,
      memoryBytes: object.spec.className === 'large' ? 16 * 2 ** 30 : 4 * 2 ** 30,
      diskBytes: 20 * 2 ** 30,
    },
    selector: object.spec.hostSelector ?? {},
  };
  const used = { ...NO_USAGE, runners, memoryBytes, cpu: 2 * runners, diskBytes: 20 * 2 ** 30 * runners };
  return misfit(demand, hostFacts(host, 'heard'), used) === undefined;
}
