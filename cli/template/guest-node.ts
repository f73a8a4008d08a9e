import { readFile, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/** The Node.js program that runs the guest agent. */
export interface GuestNode {
  readonly path: string;
  readonly version: string;
}

/** The Node.js of this project where npm installed it, else the one that runs this. */
export async function findNode(): Promise<GuestNode> {
  try {
    const manifest = createRequire(import.meta.url).resolve('node/package.json');
    const path = join(dirname(manifest), 'bin', 'node');
    await stat(path);
    const { version } = JSON.parse(await readFile(manifest, 'utf8')) as { version: string };
    return { path, version };
  } catch {
    return { path: process.execPath, version: process.versions.node };
  }
}
