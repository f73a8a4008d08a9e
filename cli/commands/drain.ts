import { Command, InvalidArgumentError } from 'commander';
import type { Host } from '../../crds/host.ts';
import { RUNNERS } from '../../crds/resources.ts';
import type { Runner } from '../../crds/runner.ts';
import { Duration, durationMs } from '../../crds/scalars.ts';
import { type KubeClient, loadKubeClient } from '../../kube/client.ts';
import { sleep, systemClock } from '../../kube/clock.ts';
import type { Stored } from '../../kube/object.ts';
import { within } from '../burn.ts';
import { type Deletes, occupantsOf, runnerName } from '../drain/decide.ts';
import { Drain } from '../drain/drain.ts';
import { cordonLine, setUnschedulable } from '../hosts/cordon.ts';
import { findHost, type HostArgument, hostArgument, printedName } from '../hosts/find.ts';
import { listenForStop } from '../lifetime.ts';
import { contextOption, kubeconfigOption, option } from '../options.ts';
import { VERSION } from '../version.ts';

interface Options {
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly deleteIdle?: boolean;
  readonly force?: boolean;
  /** Milliseconds, or Infinity. */
  readonly timeout?: number;
  readonly dryRun?: boolean;
}

export const drainCommand = (): Command =>
  new Command('drain')
    .description(
      'Cordons a host and waits until no VM is left on it. Jobs run to their end; Ctrl-C ends the waiting only, and the host stays cordoned.',
    )
    .argument('<host>', 'name of the host; or machost/NAME, linuxhost/NAME', hostArgument)
    .addOption(
      option(
        '--delete-idle',
        'delete Runners that run no job: their script has not begun, or their Actions runner has no job as far as is known; a job that it is given at the same moment is lost',
      ),
    )
    .addOption(option('--force', 'delete all Runners of the host; jobs that they run are lost'))
    .addOption(
      option('--timeout <duration>', 'how long to wait, such as 90s or 5m; 0: for ever', '0').argParser(
        timeout,
      ),
    )
    .addOption(option('--dry-run', 'say what would be done, and do nothing'))
    .addOption(kubeconfigOption())
    .addOption(contextOption())
    .action(run);

/** A plain number is one of seconds. */
function timeout(text: string): number {
  const duration = /^[0-9]+$/.test(text) ? `${text}s` : text;
  if (/^0+[hms]$/.test(duration)) return Number.POSITIVE_INFINITY;
  if (Duration.safeParse(duration).success) return durationMs(duration);
  throw new InvalidArgumentError(
    'It has to be a duration such as 90s, 5m or 1h30m, at most 168h, or 0 for ever.',
  );
}

const say = (line: string): void => void process.stdout.write(`${line}\n`);
const warn = (line: string): void => void process.stderr.write(`shoes-vz: ${line}\n`);

async function run(argument: HostArgument, options: Options): Promise<void> {
  const { kubeconfig, context, dryRun } = options;
  const deletes = options.force === true ? 'all' : options.deleteIdle === true ? 'idle' : 'none';
  const client = loadKubeClient({ kubeconfigPath: kubeconfig, context, userAgent: `shoes-vz/${VERSION}` });
  try {
    const host = await findHost(client, argument);
    if (dryRun === true) await preview(client, host, deletes);
    else await drain(client, host, deletes, options.timeout);
  } finally {
    await client.close();
  }
}

async function preview(client: KubeClient, host: Stored<Host>, deletes: Deletes): Promise<void> {
  say(`${cordonLine({ host, changed: host.spec.unschedulable !== true }, 'cordoned')} (dry run)`);
  const { items } = await client.resources<Runner>(RUNNERS).list();
  for (const { runner, fate, says } of occupantsOf(host, items, deletes, systemClock.now())) {
    say(`would ${fate === 'delete' ? 'delete' : 'wait for'} Runner ${runnerName(runner)}: ${says}`);
  }
}

/** A controller that has not heard of the cordon yet may still bind a Runner: a watch tells it well within this. */
const CORDON_HEARD_MS = 2_000;

async function drain(
  client: KubeClient,
  found: Stored<Host>,
  deletes: Deletes,
  timeoutMs = Number.POSITIVE_INFINITY,
): Promise<void> {
  const stop = listenForStop();
  const deadline = systemClock.monotonic() + timeoutMs;
  const cordoned = await setUnschedulable(client, found, true);
  const { host } = cordoned;
  say(cordonLine(cordoned, 'cordoned'));
  const cordonHeard = cordoned.changed ? sleep(systemClock, CORDON_HEARD_MS, stop.signal) : Promise.resolve();
  const running = new Drain({ client, host, deletes, cordonHeard, say, warn });
  try {
    await within(deadline, Promise.race([running.run(), stop.interrupted]), () => running.left);
    say(`${printedName(host)} drained`);
  } catch (error) {
    say(`${printedName(host)} stays cordoned; "shoes-vz uncordon ${host.metadata.name}" undoes that`);
    throw error;
  } finally {
    await running.stop();
  }
}
