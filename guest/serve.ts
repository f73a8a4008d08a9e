import { uptime } from 'node:os';
import { createNotifier, type Notifier } from './notifier.ts';
import type { GuestAddress, GuestPlatform } from './platform.ts';
import { postReport } from './post-report.ts';
import type { SeedConfig } from './protocol.ts';
import { NO_RUNNER, type RunnerTrack } from './runner-state.ts';
import { watchRunner } from './runner-watch.ts';
import { createStatusServer } from './server.ts';

const LISTEN_LOOK_MS = 10;
const ADDRESS_LOOK_MS = 50;

/**
 * The agent's life after SSH was opened: answers the host, tells it that SSH is ready as soon as it is, and then
 * whatever changes about the Actions runner. Returns when all of it is under way.
 */
export async function serveHost(platform: GuestPlatform, seed: SeedConfig, version: string): Promise<void> {
  let track = NO_RUNNER;
  const bootId = platform.bootId();
  listen(platform, seed, () => ({
    version,
    hostname: seed.hostname,
    uid: seed.uid,
    attempt: seed.attempt,
    bootId,
    uptimeSeconds: Math.floor(uptime()),
    ...(platform.address() ?? { mac: '', ip: '' }),
    ...reportOf(track),
  }));
  while (!(await platform.sshListening())) await sleep(LISTEN_LOOK_MS);
  platform.say('sshd listening');
  const address = await awaitAddress(platform);
  const notifier = createNotifier((report) => postReport(seed.notifyUrl, seed.token, report));
  announce(notifier, address, track);
  watchRunner(platform, (next) => {
    track = next;
    announce(notifier, platform.address() ?? address, track);
  });
}

/** A taken port is said on the console and tried again: the rest of the agent does not depend on it. */
function listen(
  platform: GuestPlatform,
  seed: SeedConfig,
  status: Parameters<typeof createStatusServer>[1],
): void {
  const server = createStatusServer(seed.token, status);
  server.on('error', (error) => {
    platform.say(`the agent's port ${seed.agentPort} cannot be served: ${error.message}`);
    setTimeout(() => server.listen(seed.agentPort), LISTEN_RETRY_MS);
  });
  server.listen(seed.agentPort);
}

const LISTEN_RETRY_MS = 10_000;

function announce(notifier: Notifier, address: GuestAddress, track: RunnerTrack): void {
  notifier.update({ ...address, ...reportOf(track) });
}

function reportOf({ state, runnerName }: RunnerTrack): Pick<RunnerTrack, 'state' | 'runnerName'> {
  return runnerName === undefined ? { state } : { state, runnerName };
}

async function awaitAddress(platform: GuestPlatform): Promise<GuestAddress> {
  for (;;) {
    const address = platform.address();
    if (address !== undefined) return address;
    await sleep(ADDRESS_LOOK_MS);
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
