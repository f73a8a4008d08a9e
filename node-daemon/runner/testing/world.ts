import { existsSync, readdirSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { RUNNERS } from '../../../crds/resources.ts';
import type { Runner, RunnerSpec } from '../../../crds/runner.ts';
import type { GuestReport } from '../../../guest/protocol.ts';
import { Informer } from '../../../kube/informer.ts';
import type { Stored } from '../../../kube/object.ts';
import { ManualClock } from '../../../kube/testing/manual-clock.ts';
import { stored } from '../../../test/builders/stored.ts';
import { template } from '../../../test/builders/template.ts';
import { BundleStore } from '../../vm/bundle.ts';
import type { BundlePaths } from '../../vm/driver.ts';
import { FakeMachine } from '../../vm/fake/machine.ts';
import type { SpawnedVm } from '../../vm/process.ts';
import type { TemplateBundle } from '../../vm/template.ts';
import { BY_UID, RunnerController } from '../controller.ts';
import { type LogLine, portsOf, type Surroundings, type WorldHost } from './daemon-ports.ts';
import { FakeClient } from './fake-client.ts';
import { FakeGuests } from './fake-guests.ts';
import { FakeRunners, NAMESPACE } from './fake-runners.ts';
import { Invariants } from './invariants.ts';
import { Life } from './life.ts';

export const DIGEST = `sha256:${'1'.repeat(64)}`;

/** How much time of the world may pass until something is so. */
const PATIENCE_MS = 30 * 60_000;

/** How long, by the real clock, things may take that need none of the world's time: longer is a hot loop. */
const REST_DEADLINE_MS = 10_000;

/** A daemon's reconciler, running. */
export interface Daemon {
  readonly life: Life;
  readonly controller: RunnerController;
  readonly informer: Informer<Runner, typeof BY_UID>;
  /** Lets go of everything in order. */
  stop(): Promise<void>;
}

/**
 * One host with its API server, disk, VMs and guests, all of which outlive the daemons that a test starts, kills
 * and starts again; and the invariants, which are held to account at each step.
 */
export class World implements Surroundings {
  readonly clock = new ManualClock();
  readonly machine = new WatchedMachine(() => this.invariants.checkVms());
  readonly runners = new FakeRunners(() => this.clock.now());
  readonly client = new FakeClient(this.runners);
  readonly guests = new FakeGuests(this.machine);
  readonly logs: LogLine[] = [];
  readonly events: { readonly reason: string; readonly note: string }[] = [];
  /** {@link close} fails where one was broken. */
  readonly invariants = new Invariants(this);
  /** Guests whose reports are welcome, by `uid.attempt`. */
  readonly expected = new Map<string, (report: GuestReport) => void>();
  readonly root: string;
  readonly host: WorldHost;
  readonly bundles: BundleStore;
  daemon: Daemon | undefined;
  /** What calls of daemons wait for, by their names. */
  readonly gates = new Map<string, () => Promise<void>>();
  /** Names of calls that a test makes hang: the world comes to rest although they are not answered. */
  readonly hanging = new Set<string>();
  /** Whether a daemon that has died is followed by another. */
  restarts = false;
  /** At which boundary each daemon dies, one after the other. */
  readonly deaths: number[] = [];
  /** One per daemon that was started. */
  readonly lives: Life[] = [];

  private constructor(root: string) {
    this.root = root;
    this.bundles = new BundleStore(root);
    const dir = join(root, 'templates', 'debian');
    this.host = {
      name: 'host-a',
      uid: 'host-uid',
      state: 'live',
      leaseFresh: true,
      allocatable: { runners: 100, cpu: 100, memoryBytes: 2 ** 40, diskBytes: 2 ** 40 },
      templates: new Map([['debian', templateBundle(dir)]]),
    };
    const spec = { source: { bundle: { name: 'debian' } } };
    this.client.templates.set('debian', stored(template({ metadata: { name: 'debian' }, spec })));
    this.runners.guards.push((next, old) => this.invariants.checkWrite(next, old));
  }

  static async open(): Promise<World> {
    // Every write is synced, which only memory does in no time.
    const base = existsSync('/dev/shm') ? '/dev/shm' : tmpdir();
    const root = await mkdtemp(join(base, 'w-'));
    await mkdir(join(root, 'runners'));
    await mkdir(join(root, 'templates', 'debian'), { recursive: true });
    await writeFile(join(root, 'templates', 'debian', 'Disk.img'), 'golden');
    return new World(root);
  }

  async close(): Promise<void> {
    if (this.daemon?.life.isDead === false) await this.daemon.stop();
    await this.settle();
    await rm(this.root, { recursive: true, force: true });
    this.invariants.checkScripts();
    expect(this.invariants.violations).toEqual([]);
  }

  /** A Runner that is bound to this host. */
  bound(name: string, spec: Partial<RunnerSpec> = {}): Stored<Runner> {
    this.runners.create(name, spec);
    return this.runners.bind(name, this.host, DIGEST);
  }

  get(name: string): Stored<Runner> | undefined {
    return this.runners.get({ namespace: NAMESPACE, name });
  }

  status(name: string): Runner['status'] {
    return this.get(name)?.status;
  }

  condition(name: string, type: string) {
    return this.status(name)?.conditions?.find((condition) => condition.type === type);
  }

  paths(uid: string, attempt = 1): BundlePaths {
    return this.bundles.paths(uid, attempt);
  }

  /** Names of the bundles on disk. */
  onDisk(): string[] {
    return readdirSync(join(this.root, 'runners'));
  }

  /** A report of a guest's agent. */
  report(uid: string, report: Partial<GuestReport>, attempt = 1): void {
    const listener = this.expected.get(`${uid}.${attempt}`);
    if (listener === undefined) throw new Error(`no report of ${uid}.${attempt} is expected`);
    listener({ mac: '02:00:00:00:00:01', ip: '10.0.2.15', event: 'State', state: 'NoRunner', ...report });
  }

  hostChanged(change: Partial<WorldHost>): void {
    Object.assign(this.host, change);
    this.daemon?.controller.wakeAll();
  }

  /** Starts a daemon, or the next one after a death. Resolves when it reconciles. */
  async start({ diesAt }: { readonly diesAt?: number | undefined } = {}): Promise<Daemon> {
    await this.settle();
    const life = new Life(this.clock, this.gates, this.hanging);
    life.diesAt = diesAt ?? this.deaths.shift();
    this.lives.push(life);
    const ports = portsOf(this, life);
    const informer = new Informer<Runner, typeof BY_UID>({
      client: this.client,
      type: RUNNERS,
      clock: ports.clock,
      fieldSelector: `spec.binding.hostName=${this.host.name}`,
      indexes: { [BY_UID]: (runner) => [runner.metadata.uid] },
      random: () => 0.5,
    });
    const controller = new RunnerController({ ports, informer });
    const stop = async (): Promise<void> => {
      await Promise.all([controller.stop(), informer.stop()]);
    };
    const daemon = { life, controller, informer, stop };
    this.daemon = daemon;
    informer.start();
    let started = false;
    void controller.start().then(() => {
      started = true;
    });
    await this.until('the daemon to start', () => started || life.isDead);
    return daemon;
  }

  /** Kills the daemon, like kill -9: what it holds in memory is gone. */
  async kill(): Promise<void> {
    this.daemon?.life.die();
    this.daemon = undefined;
    await this.settle();
    this.guests.cut();
    this.expected.clear();
  }

  /** Holds calls of that name back from now on, until what is returned is called. `reached` runs at each. */
  holdBack(call: string, reached?: () => void): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.gates.set(call, async () => {
      reached?.();
      await promise;
    });
    return () => {
      this.gates.delete(call);
      resolve();
    };
  }

  /** Waits until all that can happen without time has happened. */
  async settle(): Promise<void> {
    const deadline = performance.now() + REST_DEADLINE_MS;
    for (let quiet = 0; quiet < 4; ) {
      await new Promise((resolve) => setImmediate(resolve));
      quiet = this.lives.some(({ busy }) => busy > 0) ? 0 : quiet + 1;
      if (performance.now() > deadline) throw new Error(`it never comes to rest\n${this.describe()}`);
    }
  }

  /** Lets so much time pass, not more than needed at once. */
  async pass(ms: number): Promise<void> {
    const end = this.clock.monotonic() + ms;
    for (;;) {
      await this.settle();
      const left = end - this.clock.monotonic();
      const step = Math.min(this.clock.nextIn ?? left, left);
      await this.clock.advance(step);
      if (left <= step) break;
    }
    await this.settle();
  }

  /** Lets time pass until something is so. */
  async until(what: string, isSo: () => boolean): Promise<void> {
    const end = this.clock.monotonic() + PATIENCE_MS;
    for (;;) {
      await this.settle();
      if (this.restarts && this.daemon?.life.isDead) {
        await this.kill();
        await this.start();
      }
      if (isSo()) return;
      const step = this.clock.nextIn;
      if (step === undefined || this.clock.monotonic() + step > end) {
        throw new Error(`waited in vain for ${what}\n${this.describe()}`);
      }
      await this.clock.advance(step);
    }
  }

  async untilPhase(name: string, phase: string): Promise<Stored<Runner>> {
    await this.until(`${name} to be ${phase}`, () => this.status(name)?.phase === phase);
    return this.get(name) as Stored<Runner>;
  }

  async untilReady(name: string): Promise<Stored<Runner>> {
    await this.until(`${name} to be Ready`, () => this.condition(name, 'Ready')?.status === 'True');
    return this.get(name) as Stored<Runner>;
  }

  /** Waits until nothing of any Runner is left, here or on the API server. */
  async untilClean(): Promise<void> {
    const held = () => this.runners.list().some(({ metadata }) => (metadata.finalizers ?? []).length > 0);
    await this.until('nothing to be left', () => this.onDisk().length === 0 && !held());
    expect(this.machine.running()).toEqual([]);
  }

  /** Nothing is held in memory of Runners that are gone. */
  async expectNoLeak(): Promise<void> {
    // Looks that were asked for, at most for the end of the longest time limit, find nothing.
    await this.pass(7 * 3_600_000);
    expect(this.daemon?.controller.sessions()).toEqual([]);
    expect(this.guests.openSessions).toBe(0);
    expect([...this.expected.keys()]).toEqual([]);
    // The watch of Runners has one timer, of its silence.
    expect(this.daemon?.life.timers).toBeLessThanOrEqual(1);
  }

  describe(): string {
    const runners = this.runners.list().map(({ metadata, status }) => ({ metadata, status }));
    const logs = this.logs
      .slice(-20)
      .map(({ level, message, fields }) => `${level} ${message} ${show(fields)}`);
    return [show(runners), this.onDisk().join(' '), this.machine.running().join(' '), ...logs].join('\n');
  }
}

/** Tells of each VM that was started. */
class WatchedMachine extends FakeMachine {
  readonly #started: () => void;

  constructor(started: () => void) {
    super();
    this.#started = started;
  }

  override async spawn(...args: Parameters<FakeMachine['spawn']>): Promise<SpawnedVm> {
    const spawned = await super.spawn(...args);
    this.#started();
    return spawned;
  }
}

const show = (value: unknown): string =>
  JSON.stringify(value, (_, member) => (member instanceof Error ? member.message : member));

function templateBundle(dir: string): TemplateBundle {
  return {
    dir,
    metadata: {
      version: 1,
      name: 'debian',
      os: 'linux',
      arch: 'amd64',
      files: { 'Disk.img': { digest: DIGEST, size: 6 } },
      digest: DIGEST,
      user: 'runner',
      guestAgent: true,
      diskBytes: 1024,
      createdAt: '2026-01-01T00:00:00Z',
    },
  };
}
