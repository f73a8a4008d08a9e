import { chmod, open, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { digestFile, memoryDigestCache } from '../../node-daemon/vm/digest-cache.ts';
import {
  bundleDigest,
  TEMPLATE_FILES,
  TEMPLATE_METADATA,
  type TemplateMetadata,
} from '../../node-daemon/vm/template.ts';

/**
 * Makes a directory of files a sealed bundle: digests, metadata, read-only, on disk. Nothing of it is written to
 * from now on.
 */
export async function sealBundle(
  dir: string,
  facts: Omit<TemplateMetadata, 'version' | 'files' | 'digest' | 'createdAt'>,
  signal: AbortSignal,
): Promise<TemplateMetadata> {
  const files: Record<string, { digest: string; size: number }> = {};
  for (const name of (await readdir(dir)).sort()) {
    const path = join(dir, name);
    const digest = await digestFile(path, memoryDigestCache(), signal);
    files[name] = { digest, size: (await stat(path)).size };
  }
  const metadata: TemplateMetadata = {
    version: 1,
    ...facts,
    files,
    digest: bundleDigest(files),
    createdAt: new Date().toISOString(),
  };
  const file = await open(join(dir, TEMPLATE_METADATA), 'wx');
  await file.writeFile(`${JSON.stringify(metadata, null, 2)}\n`);
  await file.close();
  for (const name of await readdir(dir)) await sealFile(join(dir, name), name);
  await chmod(dir, 0o555);
  await syncPath(dir);
  return metadata;
}

async function sealFile(path: string, name: string): Promise<void> {
  await chmod(path, name === TEMPLATE_FILES.privateKey ? 0o400 : 0o444);
  await syncPath(path);
}

/** Makes a file's bytes, or a directory's names, survive a power cut. */
export async function syncPath(path: string): Promise<void> {
  const file = await open(path, 'r');
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}
