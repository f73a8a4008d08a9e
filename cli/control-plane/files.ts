import { mkdir } from 'node:fs/promises';
import { replaceFile } from '../../node-daemon/durable-file.ts';

/** Readable by its owner only: keys, certificates of keys, kubeconfigs. */
export const PRIVATE_FILE = 0o600;
/** Enterable by its owner only. */
export const PRIVATE_DIR = 0o700;

/** See {@link replaceFile}; for its owner only, unless told otherwise. */
export const writeFileAtomic = (path: string, content: string, mode = PRIVATE_FILE): Promise<void> =>
  replaceFile(path, content, mode);

/** Creates a directory that only its owner may enter, with its parents. */
export async function makePrivateDirectory(path: string): Promise<void> {
  await mkdir(path, { recursive: true, mode: PRIVATE_DIR });
}
