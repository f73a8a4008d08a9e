import { hostname } from 'node:os';
import type { Host } from '../crds/host.ts';
import { HOST_RESOURCES, RUNNERS, TEMPLATES } from '../crds/resources.ts';
import type { Runner } from '../crds/runner.ts';
import type { Template } from '../crds/template.ts';
import type { KubeClient } from '../kube/client.ts';
import { type Clock, systemClock } from '../kube/clock.ts';
import { ApiError } from '../kube/errors.ts';
import { EVENTS, EventRecorder } from '../kube/events.ts';
import { type HttpEndpoint, serveHttp } from '../kube/http-endpoint.ts';
import type { InformerProblem } from '../kube/informer.ts';
import { LEASES } from '../kube/lease.ts';
import type { Logger } from '../kube/log.ts';
import { ControllerError } from './error.ts';
import type { Events } from './events.ts';
import { HostController } from './host/controller.ts';
import { allHosts, allInformers, createInformers, type Informers } from './informers.ts';
import { type ElectionOptions, Leadership } from './leadership.ts';
import { ControllerMetrics } from './metrics.ts';
import { asControllerError, preflight } from './preflight.ts';
import { ProblemLog } from './problems.ts';
import { RunnerController } from './runner/controller.ts';
import type { PlacementPolicy } from './runner/place.ts';
import { TtlController } from './runner/ttl-controller.ts';
import { DefaultClassWarning } from './runner-class/defaults.ts';
import { TemplateController } from './template/controller.ts';

export interface ControllerOptions {
  /** The caller's: it is not closed here. */
  readonly client: KubeClient;
  readonly log: Logger;
  /** Default: spread. */
  readonly placement?: PlacementPolicy | undefined;
  /** Where /metrics, /healthz and /readyz are served; port 0 is any that is free. Absent: nowhere. */
  readonly http?: { readonly host?: string | undefined; readonly port: number } | undefined;
  /** Least time without a renewed Lease after which a host counts as lost. Default: 40 s. */
  readonly hostGraceMs?: number | undefined;
  /** Several controllers, of which one works at a time. Absent: there is no other one. */
  readonly election?: ElectionOptions | undefined;
  /** Ends the controller, as `stop` does. */
  readonly signal?: AbortSignal | undefined;
  readonly clock?: Clock | undefined;
}

export interface RunningController {
  /** The port of `http`. */
  readonly httpPort: number | undefined;
  /** Resolves when the API server was found to serve this controller: it works, or waits to. Rejects as `ready` does. */
  readonly started: Promise<void>;
  /**
   * Resolves when it leads, all kinds have been listed since, and binding has begun. Rejects, and stops the controller, where
   * the API server cannot be reached, turns it away or serves other kinds: ApiUnreachable, or ControllerError
   * with one line. After that it goes on trying, whatever the API server does.
   */
  readonly ready: Promise<void>;
  /** Rejects when the controller ends by itself: nobody can reach its metrics, or it leads no more. */
  readonly failed: Promise<never>;
  /** Resolves when nothing is being written any more. Idempotent. */
  stop(): Promise<void>;
}

const HOST_GRACE_MS = 40_000;
const EVENTS_DEADLINE_MS = 2_000;

/** Runs the controller until it is stopped. Throws HttpEndpointError where it cannot listen on its port. */
export async function runController(options: ControllerOptions): Promise<RunningController> {
  const controller = new Controller(options);
  const http = options.http === undefined ? undefined : await controller.serve(options.http);
  const started = controller.start();
  const ready = started.then(() => controller.begin());
  // Whoever awaits it gets the rejection; that nobody does is no error.
  ready.catch(() => undefined);
  const stop = () => controller.stop();
  options.signal?.addEventListener('abort', () => void stop(), { once: true });
  if (options.signal?.aborted) void stop();
  const failed = Promise.race([controller.lost, ...(http === undefined ? [] : [http.failed])]);
  failed.catch(() => undefined);
  return { httpPort: http?.port, started, ready, failed, stop };
}

/** The parts of a controller; none has begun. */
interface Parts {
  readonly informers: Informers;
  readonly recorder: EventRecorder;
  readonly metrics: ControllerMetrics;
  readonly hosts: HostController;
  readonly runners: RunnerController;
  readonly ttl: TtlController;
  readonly templates: TemplateController;
  readonly defaults: DefaultClassWarning;
}

/** All that they write goes through `client`. */
function createParts(
  { log, placement = 'spread', hostGraceMs = HOST_GRACE_MS, clock = systemClock }: ControllerOptions,
  client: KubeClient,
  leads: () => boolean,
  onProblem: (plural: string, problem: InformerProblem) => void,
): Parts {
  const informers = createInformers({ client, clock, onProblem });
  const recorder = new EventRecorder({
    resources: client.resources(EVENTS),
    reportingController: 'shoesvz.dev/controller',
    reportingInstance: hostname(),
    onDropped: (why) => log.warn({ why }, 'an Event was not recorded'),
    clock,
  });
  const events = recording(recorder);
  const hostResources = {
    MacHost: client.resources<Host>(HOST_RESOURCES.MacHost),
    LinuxHost: client.resources<Host>(HOST_RESOURCES.LinuxHost),
  };
  const hosts = new HostController({
    informers,
    hosts: hostResources,
    leases: client.resources(LEASES),
    graceMs: hostGraceMs,
    onHeartbeat: (hostName) => runners.heartbeatChanged(hostName),
    clock,
    log,
  });
  const metrics = new ControllerMetrics({
    hosts: () => allHosts(informers),
    runners: () => informers.runners.store.list(),
    isLost: (hostName) => hosts.isLost(hostName),
    waiting: () => runners.waiting,
    leads,
  });
  const runners = new RunnerController({
    informers,
    runners: client.resources<Runner>(RUNNERS),
    hosts: hostResources,
    heartbeat: (hostName) => (hosts.isLost(hostName) ? 'lost' : 'heard'),
    policy: placement,
    clock,
    log,
    events,
    observer: metrics,
  });
  const ttl = new TtlController({ informers, runners: client.resources<Runner>(RUNNERS), clock, log });
  const templates = new TemplateController({
    informers,
    templates: client.resources<Template>(TEMPLATES),
    clock,
    log,
  });
  const defaults = new DefaultClassWarning(informers, events);
  return { informers, recorder, metrics, hosts, runners, ttl, templates, defaults };
}

class Controller {
  readonly #options: ControllerOptions;
  readonly #leadership: Leadership;
  readonly #parts: Parts;
  readonly #problems: ProblemLog;
  readonly #refused = Promise.withResolvers<never>();
  readonly #lost = Promise.withResolvers<never>();
  #loss: ControllerError | undefined;
  #http: HttpEndpoint | undefined;
  #isReady = false;
  #stopping: Promise<void> | undefined;

  constructor(options: ControllerOptions) {
    this.#options = options;
    const { client, log, clock = systemClock } = options;
    for (const { promise } of [this.#refused, this.#lost]) promise.catch(() => undefined);
    this.#leadership = new Leadership({
      election: options.election,
      onLost: (loss) => this.#onLost(loss),
      onProblem: (error, retryInMs) => this.#problem(LEASES.plural, { error, failures: 1, retryInMs }),
      clock,
      log,
    });
    this.#parts = createParts(
      options,
      this.#leadership.guard(client),
      () => this.#isReady && this.#leadership.isLeader,
      (plural, problem) => this.#problem(plural, problem),
    );
    const informers = allInformers(this.#parts.informers);
    this.#problems = new ProblemLog({
      log,
      clock,
      isWell: () => this.#leadership.isWell && informers.every((informer) => informer.problem === undefined),
    });
  }

  /** Rejects when this controller led and does no more. */
  get lost(): Promise<never> {
    return this.#lost.promise;
  }

  async serve(http: { host?: string | undefined; port: number }): Promise<HttpEndpoint> {
    const { registry } = this.#parts.metrics;
    this.#http = await serveHttp({
      ...http,
      metrics: async () => ({ contentType: registry.contentType, body: await registry.metrics() }),
      notReady: () =>
        this.#isReady || this.#leadership.isWaiting ? undefined : 'the API server has not been listed yet',
    });
    return this.#http;
  }

  /** Whether there is anything to work with, asked before this controller leads. */
  async start(): Promise<void> {
    await this.#orStop(async () => await preflight(this.#options.client));
  }

  /**
   * Waits until this controller leads, and only then lists, by quorum: all that is decided from is at least as new
   * as the Lease.
   */
  async begin(): Promise<void> {
    await this.#orStop(async () => {
      await Promise.race([this.#leadership.elected(), this.#refused.promise]);
      const informers = allInformers(this.#parts.informers);
      for (const informer of informers) informer.start();
      const synced = Promise.all(informers.map((informer) => informer.synced));
      await Promise.race([synced, this.#refused.promise]);
      this.#begin();
    });
  }

  async #orStop(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      const wasStopped = this.#stopping !== undefined;
      await this.stop();
      if (this.#loss !== undefined) throw this.#loss;
      if (wasStopped)
        throw new ControllerError('the controller was stopped before it was ready', { cause: error });
      throw asControllerError(error, this.#options.client.server);
    }
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#stop();
    return this.#stopping;
  }

  /** Everything was listed, by quorum. What judges hosts begins before what binds to them. */
  #begin(): void {
    if (this.#stopping !== undefined) return;
    const { informers, metrics, hosts, defaults, runners, ttl, templates } = this.#parts;
    const { store } = informers.runners;
    for (const runner of store.list()) metrics.startupSeenBefore(runner);
    informers.runners.on({
      added: (runner) => metrics.startupSeen(runner),
      updated: (_, runner) => metrics.startupSeen(runner),
      deleted: (runner) => metrics.runnerGone(runner),
    });
    hosts.start();
    defaults.start();
    runners.start();
    ttl.start();
    templates.start();
    this.#isReady = true;
    const { client, log } = this.#options;
    const counts = { runners: store.size, hosts: allHosts(informers).length };
    log.info({ server: client.server, ...counts }, 'the controller is ready');
  }

  async #stop(): Promise<void> {
    this.#isReady = false;
    const { informers, recorder, hosts, defaults, runners, ttl, templates } = this.#parts;
    this.#problems.stop();
    defaults.stop();
    await Promise.all([runners.stop(), ttl.stop(), hosts.stop(), templates.stop()]);
    await Promise.all(allInformers(informers).map((informer) => informer.stop()));
    await recorder.stop({ deadlineMs: this.#leadership.isLeader ? EVENTS_DEADLINE_MS : 0 });
    await this.#leadership.stop();
    await this.#http?.close();
  }

  #onLost(loss: ControllerError): void {
    this.#loss = loss;
    this.#lost.reject(loss);
    void this.stop();
  }

  #problem(plural: string, problem: InformerProblem): void {
    const { error, retryInMs } = problem;
    const isAnswer = error instanceof ApiError;
    if (!isAnswer) this.#parts.hosts.apiLost();
    this.#problems.report(plural, problem);
    if (isAnswer && [401, 403, 404].includes(error.code) && retryInMs > 0) this.#refused.reject(error);
  }
}

const recording = (recorder: EventRecorder): Events => ({
  normal: (regarding, reason, note) => recorder.record(regarding, { type: 'Normal', reason, note }),
  warning: (regarding, reason, note) => recorder.record(regarding, { type: 'Warning', reason, note }),
});
