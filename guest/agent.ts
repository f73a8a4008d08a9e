import type { GuestPlatform } from './platform.ts';
import { awaitSeed } from './seed-disk.ts';
import { serveHost } from './serve.ts';

/**
 * The guest agent, from boot to the end of the machine. `version` is told to the host. Where the machine cannot be
 * made the seed's, it says so on the console and ends the process; what started it starts it again.
 */
export async function runAgent(platform: GuestPlatform, version: string): Promise<void> {
  platform.raisePriority();
  const seed = await awaitSeed(platform);
  try {
    await platform.identify(seed);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    platform.say(`the seed cannot be installed: ${why}; sshd is not started`);
    process.exit(1);
  }
  await serveHost(platform, seed.config, version);
}
