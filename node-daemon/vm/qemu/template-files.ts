import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { VmError } from '../driver.ts';
import type { TemplateMetadata } from '../template.ts';

/** What of a sealed template QEMU needs. */
export interface BootableTemplate {
  readonly dir: string;
  readonly disk: string;
  readonly kernel: string;
  /** Identifies the kernel: what booted once under an accelerator will again. */
  readonly kernelDigest: string;
  readonly initrd: boolean;
  readonly kernelArgs: string;
}

const Needed = z.object({
  os: z.enum(['macOS', 'linux']),
  arch: z.enum(['arm64', 'amd64']),
  kernelArgs: z.string().optional(),
  files: z.record(z.string(), z.object({ digest: z.string(), size: z.number() })),
}) satisfies z.ZodType<Pick<TemplateMetadata, 'os' | 'arch' | 'kernelArgs' | 'files'>>;

const METADATA = 'TemplateMetadata.json';
const DISK = 'Disk.img';
const KERNEL = 'kernel';
const INITRD = 'initrd';

/**
 * Reads a template and checks that its files are there in full size; whether their content is what was sealed
 * was told when the host listed it. Throws {@link VmError} TemplateMissing, naming the file.
 */
export async function readBootableTemplate(dir: string): Promise<BootableTemplate> {
  const { os, arch, kernelArgs, files } = await readTemplateMetadata(dir);
  if (os !== 'linux' || arch !== 'amd64') {
    throw new VmError(
      'TemplateMissing',
      `template ${dir} is for ${os} ${arch}; the qemu driver runs linux amd64`,
    );
  }
  for (const name of [DISK, KERNEL]) {
    if (files[name] === undefined) throw new VmError('TemplateMissing', `template ${dir} has no ${name}`);
  }
  await Promise.all(Object.entries(files).map(([name, { size }]) => requireFile(join(dir, name), size)));
  return {
    dir,
    disk: join(dir, DISK),
    kernel: join(dir, KERNEL),
    kernelDigest: files[KERNEL]?.digest ?? '',
    initrd: files[INITRD] !== undefined,
    kernelArgs: kernelArgs ?? '',
  };
}

/** The first template that could boot here, by name; undefined where there is none. */
export async function anyBootableTemplate(templatesDir: string): Promise<BootableTemplate | undefined> {
  const names = await readdir(templatesDir).catch(() => []);
  for (const name of names.sort()) {
    const template = await readBootableTemplate(join(templatesDir, name)).catch(() => undefined);
    if (template !== undefined) return template;
  }
  return undefined;
}

async function readTemplateMetadata(dir: string): Promise<z.infer<typeof Needed>> {
  const path = join(dir, METADATA);
  try {
    return Needed.parse(JSON.parse(await readFile(path, 'utf8')));
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    const what = missing ? 'is missing' : 'is not the metadata of a sealed template';
    throw new VmError('TemplateMissing', `template file ${path} ${what}`, { cause: error });
  }
}

async function requireFile(path: string, size: number): Promise<void> {
  const found = await stat(path).catch((error: unknown) => {
    throw new VmError('TemplateMissing', `template file ${path} is missing`, { cause: error });
  });
  if (found.size === size) return;
  const message = `template file ${path} has ${found.size} bytes, ${size} were sealed`;
  throw new VmError('TemplateMissing', message);
}
