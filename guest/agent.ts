import type { GuestPlatform } from './platform.ts';
import { awaitSeed } from './seed-disk.ts';

/**
 * The guest agent, from boot to the end of the machine. SSH is opened only after the seed is installed; what SSH
 * does not need is loaded and done after that, since every millisecond before it delays the VM.
 */
export async function runAgent(platform: GuestPlatform, version: string): Promise<void> {
  const seed = await awaitSeed(platform);
  if (!platform.installed()) platform.install(seed);
  platform.openSsh();
  const { serveHost } = await import('./serve.ts');
  await serveHost(platform, seed.config, version);
}
