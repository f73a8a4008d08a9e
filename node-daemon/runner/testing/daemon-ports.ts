import type { GuestReport } from '../../../guest/protocol.ts';
import type { Logger } from '../../../kube/log.ts';
import { BundleStore } from '../../vm/bundle.ts';
import { FakeDriver } from '../../vm/fake/driver.ts';
import type { FakeMachine } from '../../vm/fake/machine.ts';
import type { TemplateBundle } from '../../vm/template.ts';
import { runnerApi } from '../api.ts';
import type { Allocatable } from '../capacity.ts';
import type { GuestSession, HostView, MadeSecrets, RunnerPorts, VmSecrets } from '../ports.ts';
import { vmRuntime } from '../vm-runtime.ts';
import { bundleSecrets } from '../vm-secrets.ts';
import type { FakeClient } from './fake-client.ts';
import type { FakeGuests } from './fake-guests.ts';
import type { Life } from './life.ts';

/** What a host tells of itself. */
export interface WorldHost {
  readonly name: string;
  uid: string;
  state: 'live' | 'deleting' | 'vanished';
  leaseFresh: boolean;
  allocatable: Allocatable;
  templates: Map<string, TemplateBundle>;
  /** Why it has to be rebooted, where it has. */
  needsReboot?: string;
}

/** One log line of a daemon. */
export interface LogLine {
  readonly level: keyof Logger;
  readonly message: string;
  readonly fields: object;
}

/** What daemons come upon, and what goes on existing when they die. */
export interface Surroundings {
  readonly root: string;
  readonly host: WorldHost;
  readonly machine: FakeMachine;
  readonly client: FakeClient;
  readonly guests: FakeGuests;
  /** Guests whose reports are welcome, by `uid.attempt`. */
  readonly expected: Map<string, (report: GuestReport) => void>;
  readonly events: { readonly reason: string; readonly note: string }[];
  readonly logs: LogLine[];
}

/** The ports of one daemon's life: the real ones but for machine, API server, guests and clock. */
export function portsOf(around: Surroundings, life: Life): RunnerPorts {
  const bundles = life.wrap('bundles', new BundleStore(around.root), {
    effects: ['create', 'update', 'purgeFiles', 'removeTombstone'],
    pure: ['paths'],
  });
  const driver = life.wrap('driver', new FakeDriver({ machine: around.machine, bundles }), {
    effects: ['prepare', 'purge'],
    pure: ['command', 'explainExit'],
    composed: true,
  });
  const processes = life.wrap('processes', around.machine, { effects: ['spawn'] });
  const runtime = { ...vmRuntime({ driver, processes, bundles }), keepLogsBounded: async () => undefined };
  const { expected, events } = around;
  return {
    api: life.wrap('api', runnerApi(around.client), {
      effects: ['writeStatus', 'removeFinalizer', 'readSecret'],
    }),
    bundles,
    runtime: life.wrap('runtime', runtime, { composed: true }),
    secrets: life.wrap('secrets', secretsOf(life), { effects: ['make'] }),
    guests: guestsOf(around, life),
    host: hostView(around.host),
    guestLink: {
      port: 8081,
      expect: ({ uid, attempt }, onReport) => void expected.set(`${uid}.${attempt}`, onReport),
      forget: ({ uid, attempt }) => void expected.delete(`${uid}.${attempt}`),
    },
    events: {
      normal: (_, reason, note) => void events.push({ reason, note }),
      warning: (_, reason, note) => void events.push({ reason, note }),
    },
    clock: life.clock,
    log: loggerInto(around.logs),
  };
}

function guestsOf({ guests: all }: Surroundings, life: Life): RunnerPorts['guests'] {
  const access = all.access((ms, callback) => life.clock.setTimeout(callback, ms));
  const guests = life.wrap('guests', access, { effects: ['login'], waits: ['login'] });
  return {
    status: guests.status,
    login: async (guest, options) => {
      const result = await guests.login(guest, options);
      return result.state === 'connected' ? { ...result, session: guarded(life, result.session) } : result;
    },
  };
}

const guarded = (life: Life, session: GuestSession): GuestSession =>
  life.wrap('guest', session, { effects: ['startScript'], waits: ['watchScript'], pure: ['close'] });

const secretsOf = (life: Life): VmSecrets => ({
  token: (bundle) => bundleSecrets.token(bundle),
  make: async (bundle, signal): Promise<MadeSecrets> => {
    const made = await bundleSecrets.make(bundle, signal);
    return life.wrap('secrets', made, { effects: ['writeSeed'] });
  },
});

const hostView = (host: WorldHost): HostView => ({
  name: host.name,
  uid: () => host.uid,
  state: () => host.state,
  leaseFresh: () => host.leaseFresh,
  allocatable: () => host.allocatable,
  templates: () => host.templates,
  needsReboot: async (why) => {
    host.needsReboot = why;
  },
});

function loggerInto(logs: LogLine[]): Logger {
  const line = (level: keyof Logger) => (fields: object, message: string) => {
    logs.push({ level, fields, message });
  };
  return { debug: line('debug'), info: line('info'), warn: line('warn'), error: line('error') };
}
