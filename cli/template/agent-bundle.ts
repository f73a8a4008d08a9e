import { join } from 'node:path';
import { rolldown } from 'rolldown';
import { VERSION } from '../version.ts';

/**
 * The guest agent as JavaScript for the guest's Node.js, which neither strips types (slow under emulation) nor
 * finds many small files (each is a read of the guest's cold disk): file name → text. `agent.js` is the entry; what
 * is not needed before SSH is in files of its own, loaded later.
 */
export async function bundleAgent(guestDir: string): Promise<ReadonlyMap<string, string>> {
  const build = await rolldown({
    input: { agent: join(guestDir, 'linux', 'main.ts') },
    platform: 'node',
    transform: { define: { SHOESVZ_VERSION: JSON.stringify(VERSION) } },
    logLevel: 'silent',
  });
  try {
    const { output } = await build.generate({
      format: 'cjs',
      entryFileNames: '[name].js',
      chunkFileNames: 'agent-[name].js',
      minify: false,
    });
    return new Map(
      output.flatMap((file) => (file.type === 'chunk' ? [[file.fileName, file.code] as const] : [])),
    );
  } finally {
    await build.close();
  }
}
