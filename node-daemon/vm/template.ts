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
  readonly createdAt: string;
}
