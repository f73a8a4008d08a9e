import type { GuestPlatform } from './platform.ts';
import { awaitSeed } from './seed-disk.ts';
import { serveHost } from './serve.ts';

/** The guest agent, from boot to the end of the machine. `version` is told to the host. */
export async function runAgent(platform: GuestPlatform, version: string): Promise<void> {
  const seed = await awaitSeed(platform);
  await platform.identify(seed);
  await serveHost(platform, seed.config, version);
}
