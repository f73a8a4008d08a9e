import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { z } from 'zod';
import { DnsName } from '../../crds/scalars.ts';
import { ExplainedError } from '../../kube/explained-error.ts';
import { type DigestCache, digestFile } from './digest-cache.ts';

/** Name of the file that makes a directory a template bundle. */
export const TEMPLATE_METADATA = 'TemplateMetadata.json';

/** Files of a bundle. Disk.img is always there; kernel and initrd where QEMU boots Linux directly. */
export const TEMPLATE_FILES = {
  disk: 'Disk.img',
  kernel: 'kernel',
  initrd: 'initrd',
  privateKey: 'id_ed25519',
  publicKey: 'id_ed25519.pub',
} as const;

const Digest = z.string().regex(/^sha256:[0-9a-f]{64}$/, 'must be sha256: and 64 hexadecimal digits');
const FileName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, 'must be a plain file name');

const MetadataSchema = z.object({
  version: z.literal(1),
  name: DnsName,
  os: z.enum(['macOS', 'linux']),
  arch: z.enum(['arm64', 'amd64']),
  files: z
    .record(FileName, z.object({ digest: Digest, size: z.number().int().nonnegative() }))
    .refine((files) => TEMPLATE_FILES.disk in files, `must name ${TEMPLATE_FILES.disk}`)
    .refine((files) => !(TEMPLATE_METADATA in files), `must not name ${TEMPLATE_METADATA} itself`),
  digest: Digest,
  user: z.string().regex(/^[a-z_][a-z0-9_-]{0,31}$/, 'must be a user name'),
  guestAgent: z.boolean(),
  hostKey: z.string().startsWith('ssh-').max(1024).optional(),
  kernelArgs: z.string().max(1024).optional(),
  diskBytes: z.number().int().positive(),
  inputs: Digest.optional(),
  createdAt: z.iso.datetime(),
});

/** `TemplateMetadata.json` of a sealed template bundle. */
export interface TemplateMetadata {
  readonly version: 1;
  readonly name: string;
  readonly os: 'macOS' | 'linux';
  readonly arch: 'arm64' | 'amd64';
  /** File name → `sha256:…` and size, of every other file in the bundle. */
  readonly files: Readonly<Record<string, { readonly digest: string; readonly size: number }>>;
  /** Digest of the bundle: sha256 over the sorted `name digest size` lines of `files`. */
  readonly digest: string;
  /** Login user. */
  readonly user: string;
  /** Whether the guest agent is installed. */
  readonly guestAgent: boolean;
  /** Public host key for templates without the agent. */
  readonly hostKey?: string | undefined;
  /** Kernel command line (Linux under QEMU). */
  readonly kernelArgs?: string | undefined;
  /** Size of the virtual disk. */
  readonly diskBytes: number;
  /** Digest of what the bundle was built from: an equal one need not be built again. */
  readonly inputs?: string | undefined;
  readonly createdAt: string;
}

/** A bundle whose metadata is valid and whose files are all there, in their sizes. */
export interface TemplateBundle {
  readonly dir: string;
  readonly metadata: TemplateMetadata;
}

/** Why a directory is no usable template: one line for a person. */
export interface TemplateProblem {
  readonly dir: string;
  /** The file that is wrong. */
  readonly file: string;
  readonly message: string;
}

export function isTemplateProblem(result: TemplateBundle | TemplateProblem): result is TemplateProblem {
  return 'message' in result;
}

/** Digest of a bundle whose files are these: a change of any name, content or size changes it. */
export function bundleDigest(files: TemplateMetadata['files']): string {
  const hash = createHash('sha256');
  for (const name of Object.keys(files).sort()) {
    const file = files[name];
    if (file !== undefined) hash.update(`${name} ${file.digest} ${file.size}\n`);
  }
  return `sha256:${hash.digest('hex')}`;
}

/**
 * Reads a bundle: metadata, and that every file it names is there in its size. Cheap: reads no other file's
 * bytes. Only a failure to read what exists for a reason of the machine's (EIO, EMFILE) rejects.
 */
export async function readTemplate(dir: string): Promise<TemplateBundle | TemplateProblem> {
  const text = await readFile(join(dir, TEMPLATE_METADATA), 'utf8').catch(absent);
  if (text === undefined) return problem(dir, TEMPLATE_METADATA, 'is missing', REBUILD);
  const metadata = parseMetadata(text);
  if (typeof metadata === 'string') return problem(dir, TEMPLATE_METADATA, metadata, REBUILD);
  if (bundleDigest(metadata.files) !== metadata.digest) {
    return problem(dir, TEMPLATE_METADATA, 'its digest does not fit its list of files', REBUILD);
  }
  for (const [name, expected] of Object.entries(metadata.files)) {
    const found = await stat(join(dir, name)).catch(absent);
    if (found === undefined) return problem(dir, name, 'is missing', REBUILD);
    if (!found.isFile()) return problem(dir, name, 'is not a regular file', REBUILD);
    if (found.size !== expected.size) {
      return problem(dir, name, `has ${found.size} bytes instead of ${expected.size}`, REBUILD);
    }
  }
  return { dir, metadata };
}

/**
 * Compares every file with its digest. Costs reading all of them, but for those that `cache` knows to be
 * unchanged.
 */
export async function verifyTemplate(
  bundle: TemplateBundle,
  cache: DigestCache,
  signal: AbortSignal,
): Promise<TemplateBundle | TemplateProblem> {
  for (const [name, expected] of Object.entries(bundle.metadata.files)) {
    const path = join(bundle.dir, name);
    const digest = await digestFile(path, cache, signal).catch(absent);
    if (digest === undefined) return problem(bundle.dir, name, 'is missing', REBUILD);
    if (digest !== expected.digest) {
      return problem(
        bundle.dir,
        name,
        `is corrupt: its digest is not the one in ${TEMPLATE_METADATA}`,
        REBUILD,
      );
    }
  }
  return bundle;
}

/** A {@link TemplateProblem} for callers that prefer exceptions. */
export class TemplateProblemError extends ExplainedError {
  readonly problem: TemplateProblem;
  constructor(problem: TemplateProblem) {
    super(problem.message);
    this.name = 'TemplateProblemError';
    this.problem = problem;
  }
}

/** {@link readTemplate} and {@link verifyTemplate} as a host's inventory wants them: a problem rejects. */
export function templateReader(cache: DigestCache): {
  read(dir: string): Promise<TemplateMetadata>;
  verify(dir: string, metadata: TemplateMetadata, signal: AbortSignal): Promise<void>;
} {
  return {
    read: async (dir) => orThrow(await readTemplate(dir)).metadata,
    verify: async (dir, metadata, signal) => {
      orThrow(await verifyTemplate({ dir, metadata }, cache, signal));
    },
  };
}

function orThrow(result: TemplateBundle | TemplateProblem): TemplateBundle {
  if (isTemplateProblem(result)) throw new TemplateProblemError(result);
  return result;
}

const REBUILD = 'build or copy the template again';

function problem(dir: string, file: string, what: string, remedy: string): TemplateProblem {
  return { dir, file, message: `template ${basename(dir)}: ${file}: ${what}; ${remedy}` };
}

/** The metadata, or what is wrong with the text. */
function parseMetadata(text: string): TemplateMetadata | string {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    return 'is not JSON';
  }
  const result = MetadataSchema.safeParse(data);
  if (result.success) return result.data satisfies TemplateMetadata;
  const issue = result.error.issues[0];
  const path = issue?.path.join('.') ?? '';
  return path === '' ? `${issue?.message}` : `${path}: ${issue?.message}`;
}

function absent(error: unknown): undefined {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
  throw error;
}
