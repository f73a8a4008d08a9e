import { constants } from 'node:fs';
import { copyFile, link, mkdir, readdir, rename, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';

/**
 * Puts a sealed template into another directory of templates, under its own name. Its files are linked where
 * both are on one filesystem, which is safe since no one writes to them, and copied elsewhere. Appears at
 * once or not at all.
 */
export async function placeTemplate(bundle: string, directory: string): Promise<void> {
  const target = join(directory, basename(bundle));
  const temporary = join(directory, `.${basename(bundle)}.placing`);
  await rm(temporary, { recursive: true, force: true });
  await mkdir(temporary, { recursive: true });
  for (const name of await readdir(bundle)) {
    const [from, to] = [join(bundle, name), join(temporary, name)];
    await link(from, to).catch(() => copyFile(from, to, constants.COPYFILE_FICLONE));
  }
  await rename(temporary, target);
}
