import { copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generateSshKeyPair, type SshKeyPair } from '../../node-daemon/ssh/key-pair.ts';
import { TEMPLATE_FILES, type TemplateMetadata } from '../../node-daemon/vm/template.ts';
import { bundleAgent } from './agent-bundle.ts';
import { type AptOptions, fetchPackages, type PackageFile } from './apt.ts';
import { TemplateBuildError } from './error.ts';
import { makeInitrd } from './initrd.ts';
import { extractKernel } from './kernel.ts';
import { dropbearPrivateKey, parseOpensshEd25519 } from './openssh-key.ts';
import { run } from './run.ts';
import { sealBundle } from './seal.ts';
import type { WorkDirectory } from './work-directory.ts';

/** Login user of the templates that we build; it may become root by sudo. */
export const LOGIN_USER = 'runner';

/** Twice what the guest needs, sparse; a Runner's disk is as large as its class says. */
const DISK_BYTES = 1024 ** 3;
const ROOTFS_MS = 900_000;

export type GuestArch = 'amd64' | 'arm64';

export interface BundleFacts {
  readonly name: string;
  readonly guestAgent: boolean;
  readonly arch: GuestArch;
  readonly inputs: string;
  /** The Node.js program for the agent. */
  readonly node: string;
  readonly guestDir: string;
}

export interface BundleSources {
  readonly packages: readonly string[];
  readonly kernelPackage: string;
  readonly apt: AptOptions;
}

/** Fills the bundle's directory and seals it. */
export async function makeBundle(
  { scratch: work, bundle }: WorkDirectory,
  facts: BundleFacts,
  sources: BundleSources,
): Promise<TemplateMetadata> {
  const { log, signal } = sources.apt;
  const { packages, kernel } = await fetchPackages(sources.packages, sources.kernelPackage, sources.apt);
  const keys = facts.guestAgent ? undefined : await bakeKeys(bundle);
  await makeOverlay(join(work, 'overlay'), facts, keys?.hostKey);
  log(`unpacking ${packages.length} packages and making the disk image`);
  await makeImage({
    work,
    packages,
    kernel,
    image: join(bundle, TEMPLATE_FILES.disk),
    authorizedKey: keys?.login.publicKey ?? '',
    signal,
  });
  const kernelArgs = await takeKernel(work, bundle, facts, signal);
  log('sealing the template');
  return sealBundle(
    bundle,
    {
      name: facts.name,
      os: 'linux',
      arch: facts.arch,
      user: LOGIN_USER,
      guestAgent: facts.guestAgent,
      ...(keys === undefined ? {} : { hostKey: keys.hostKey.publicKey }),
      kernelArgs,
      diskBytes: DISK_BYTES,
      inputs: facts.inputs,
    },
    signal,
  );
}

/** Without an agent there is no seed disk to bring keys: the template has a login key and a host key of its own. */
async function bakeKeys(
  bundle: string,
): Promise<{ readonly login: SshKeyPair; readonly hostKey: SshKeyPair }> {
  const [login, hostKey] = [generateSshKeyPair(), generateSshKeyPair()];
  await writeFile(join(bundle, TEMPLATE_FILES.privateKey), login.privateKey, { mode: 0o600 });
  await writeFile(join(bundle, TEMPLATE_FILES.publicKey), `${login.publicKey}\n`);
  return { login, hostKey };
}

/** What is laid over the packages: the guest's own files, and the agent with its Node.js or the baked host key. */
async function makeOverlay(
  overlay: string,
  facts: BundleFacts,
  hostKey: SshKeyPair | undefined,
): Promise<void> {
  await copyTree(join(facts.guestDir, 'linux', 'rootfs'), overlay);
  const ours = join(overlay, 'usr/lib/shoesvz');
  if (hostKey !== undefined) {
    const key = parseOpensshEd25519(hostKey.privateKey);
    if (key === undefined) throw new Error('a host key of our own making cannot be read');
    const directory = join(overlay, 'etc/dropbear');
    await mkdir(directory, { recursive: true });
    await writeFile(join(directory, 'dropbear_ed25519_host_key'), dropbearPrivateKey(key), { mode: 0o600 });
    return;
  }
  for (const [name, code] of await bundleAgent(facts.guestDir)) await writeFile(join(ours, name), code);
  await copyFile(facts.node, join(ours, 'node'));
}

/** Modes are kept as far as git knows them: programs are executable. */
async function copyTree(from: string, to: string): Promise<void> {
  await mkdir(to, { recursive: true });
  for (const entry of await readdir(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) await copyTree(source, target);
    else await copyFile(source, target);
  }
}

interface ImageSources {
  readonly work: string;
  readonly packages: readonly PackageFile[];
  readonly kernel: PackageFile;
  readonly image: string;
  /** Empty where the seed disk brings the keys. */
  readonly authorizedKey: string;
  readonly signal: AbortSignal;
}

/** Leaves the tree in `<work>/root` and the kernel's package in `<work>/kernel`. */
async function makeImage(sources: ImageSources): Promise<void> {
  const { work, packages, kernel, image, authorizedKey, signal } = sources;
  const list = join(work, 'packages');
  await writeFile(list, packages.map(({ path }) => `${path}\n`).join(''));
  await run('fakeroot', ['sh', join(import.meta.dirname, 'rootfs.sh')], {
    signal,
    timeoutMs: ROOTFS_MS,
    env: {
      PATH: `${process.env.PATH}:/usr/sbin:/sbin`,
      WORK: work,
      PACKAGES: list,
      KERNEL: kernel.path,
      OVERLAY: join(work, 'overlay'),
      IMAGE: image,
      IMAGE_BYTES: String(DISK_BYTES),
      LOGIN: LOGIN_USER,
      AUTHORIZED_KEY: authorizedKey,
    },
  });
}

/** Writes kernel and initrd; returns the kernel's command line. */
async function takeKernel(
  work: string,
  bundle: string,
  { guestDir, arch }: BundleFacts,
  signal: AbortSignal,
): Promise<string> {
  const root = join(work, 'root');
  const boot = join(work, 'kernel', 'boot');
  const [image, config] = await Promise.all([readOnly(boot, 'vmlinuz-'), readOnly(boot, 'config-')]);
  await writeFile(join(bundle, TEMPLATE_FILES.kernel), extractKernel(image, config.toString('utf8')).image);
  const versions = await readdir(join(root, 'usr/lib/modules'));
  const initrd = await makeInitrd({
    root,
    modules: join(root, 'usr/lib/modules', versions[0] ?? ''),
    init: join(guestDir, 'linux', 'initrd-init'),
    scratch: join(work, 'modules'),
    signal,
  });
  await writeFile(join(bundle, TEMPLATE_FILES.initrd), initrd);
  await rm(join(work, 'kernel'), { recursive: true, force: true });
  return KERNEL_ARGS[arch];
}

/**
 * Mitigations protect a guest from its own processes only, and a VM is one job's: they are paid for at every call. The
 * self-tests of ciphers and the patching of locks cost a third of a second of every boot under emulation.
 */
const KERNEL_ARGS: Readonly<Record<GuestArch, string>> = {
  amd64: 'console=ttyS0 root=/dev/vda rw quiet mitigations=off cryptomgr.notests noreplace-smp net.ifnames=0',
  arm64:
    'console=ttyAMA0 root=/dev/vda rw quiet mitigations=off cryptomgr.notests noreplace-smp net.ifnames=0',
};

async function readOnly(dir: string, prefix: string): Promise<Buffer> {
  const name = (await readdir(dir)).find((entry) => entry.startsWith(prefix));
  if (name === undefined) throw new TemplateBuildError(`the kernel package has no file boot/${prefix}*`);
  return readFile(join(dir, name));
}

/** Packages are those of the machine's own architecture. */
export function guestArch(): GuestArch {
  if (process.arch === 'x64') return 'amd64';
  if (process.arch === 'arm64') return 'arm64';
  throw new TemplateBuildError(
    `there are no templates for ${process.arch} machines, only for amd64 and arm64`,
  );
}

/** The Debian release whose packages this machine's apt knows. */
export async function hostCodename(): Promise<string> {
  const release = await readFile('/etc/os-release', 'utf8').catch(() => '');
  const field = (name: string): string | undefined =>
    new RegExp(`^${name}="?([a-z]+)"?$`, 'm').exec(release)?.[1];
  const codename = field('VERSION_CODENAME');
  if (field('ID') !== 'debian' || codename === undefined) {
    throw new TemplateBuildError('Linux templates are built from Debian packages, on Debian 12 or 13');
  }
  return codename;
}
