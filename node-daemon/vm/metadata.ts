import { open, readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import { z } from 'zod';
import { replaceFile } from '../durable-file.ts';

const endpoint = z.object({ host: z.string().min(1), port: z.int().min(1).max(65535) });

const identity = z.object({
  uid: z.string().min(1),
  attempt: z.int().min(1),
  hostUid: z.string().min(1),
});

const prepared = z.object({
  spec: z.object({
    identity,
    templateDir: z.string().min(1),
    resources: z.object({
      cpu: z.int().min(1),
      memoryBytes: z.int().min(1),
      diskBytes: z.int().min(1),
    }),
    guestPorts: z.object({ ssh: z.int(), agent: z.int() }),
    notifyPort: z.int(),
    seedDisk: z.boolean().optional(),
  }),
  endpoints: z.object({
    ssh: endpoint,
    agent: endpoint,
    notifyUrl: z.string(),
    guestIp: z.string().optional(),
    mac: z.string(),
  }),
  driver: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
});

const guest = z.object({
  /** Login user. */
  user: z.string().min(1),
  /** Whether the guest agent is there. */
  agent: z.boolean(),
  /** Public host key that is pinned; without the agent it may be unknown until the first login. */
  hostKey: z.string().optional(),
  /** Secret in the system namespace with the template's key, for templates without the agent. */
  privateKeySecretRef: z.object({ name: z.string(), key: z.string() }).optional(),
  /** The template's key was replaced by the Runner's own. */
  rotated: z.boolean().optional(),
});
export type GuestMetadata = z.infer<typeof guest>;

/** Why a Runner is over: CamelCase, for conditions and events. */
export const OUTCOME_REASONS = [
  'JobFinished',
  'ScriptSucceeded',
  'ScriptFailed',
  'ScriptLost',
  'ScriptUnknown',
  'SetupTimeout',
  'NoRunner',
  'CloneFailed',
  'CloneTimeout',
  'StartFailed',
  'BootTimeout',
  'LoginFailed',
  'VmExited',
  'BundleLost',
  'HostDeleted',
  'DeadlineExceeded',
  'HostNeedsReboot',
  'OutOfCapacity',
] as const;
export type OutcomeReason = (typeof OUTCOME_REASONS)[number];

/**
 * `RuntimeMetadata.json`: all that a host knows of one VM. It is the daemon's only memory of it, and holds
 * no secret. Times are epoch milliseconds, so that what is computed from them survives a restart exactly.
 */
export const RuntimeMetadata = z.object({
  version: z.literal(1),
  identity,
  runner: z.object({ namespace: z.string().min(1), name: z.string().min(1) }),
  template: z.object({ name: z.string().min(1), digest: z.string() }),
  createdAt: z.number(),
  /** Limits of this start in milliseconds, as Runner and Template had them when it began. */
  timeouts: z.object({ cloneMs: z.number(), bootMs: z.number(), setupMs: z.number() }).optional(),
  /** Set by the driver's `prepare`. */
  prepared: prepared.optional(),
  /** How long it took to make disk, keys and identity, in milliseconds. */
  cloneMs: z.int().optional(),
  /** How the guest is logged in to. Written last of all that a launch prepares. */
  guest: guest.optional(),
  /** The VM's process: trusted only together with the boot it was started in and its start time. */
  process: z
    .object({ pid: z.int().min(1), startTime: z.string().min(1), bootId: z.string().min(1) })
    .optional(),
  /** When the start of the VM returned; the time to SSH-ready counts from here. */
  startReturnedAt: z.number().optional(),
  /** When an authenticated SSH command first exited 0, and how long after the start, in milliseconds. */
  sshReadyAt: z.number().optional(),
  bootToSshMs: z.int().optional(),
  /** From the Runner's creation until then, in milliseconds; creation is known to the second only. */
  totalMs: z.int().optional(),
  /** When the setup script was started in the guest. */
  scriptStartedAt: z.number().optional(),
  /** When the Runner became Ready, and what made it so. */
  ready: z
    .object({ at: z.number(), reason: z.enum(['ScriptSucceeded', 'RunnerRegistered', 'NoScript']) })
    .optional(),
  /** How long it took from the script's start until then, in milliseconds. */
  setupMs: z.int().optional(),
  /** When destroying began: a purge that a crash interrupts is known for one afterwards. */
  tearingDownAt: z.number().optional(),
  /** What the Runner comes to once everything is purged: recorded when tearing down begins. */
  outcome: z
    .object({
      phase: z.enum(['Finished', 'Error']),
      reason: z.enum(OUTCOME_REASONS),
      message: z.string(),
      at: z.number(),
      setup: z.object({ exitCode: z.int().optional(), outputTail: z.string().optional() }).optional(),
    })
    .optional(),
  /** Set when process and files were observed gone: only this file is left. */
  tombstone: z.object({ purgedAt: z.number() }).optional(),
});
export type RuntimeMetadata = z.infer<typeof RuntimeMetadata>;

/** What lies at a metadata path. `corrupt` covers another version and anything that does not parse. */
export type MetadataRead =
  | { readonly state: 'present'; readonly metadata: RuntimeMetadata }
  | { readonly state: 'absent' }
  | { readonly state: 'corrupt'; readonly why: string };

/** Throws only where the file is there and cannot be read: that is unknown, neither absent nor corrupt. */
export async function readMetadata(path: string): Promise<MetadataRead> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return { state: 'absent' };
    throw error;
  }
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    return { state: 'corrupt', why: `${basename(path)} is not JSON` };
  }
  const parsed = RuntimeMetadata.safeParse(json);
  if (parsed.success) return { state: 'present', metadata: parsed.data };
  const issue = parsed.error.issues[0];
  return {
    state: 'corrupt',
    why: `${basename(path)}: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? 'invalid'}`,
  };
}

/**
 * Replaces the file atomically; on return it survives a crash of the machine. Throws, and leaves the file as
 * it is, on metadata that {@link readMetadata} would call corrupt.
 */
export async function writeMetadata(path: string, metadata: RuntimeMetadata): Promise<void> {
  await replaceFile(path, textOf(metadata), 0o600);
}

/** Writes over a file that is there, which takes no room on the disk. A crash meanwhile leaves it corrupt. */
export async function overwriteMetadata(path: string, metadata: RuntimeMetadata): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const { bytesWritten } = await file.write(textOf(metadata), 0);
    await file.truncate(bytesWritten);
    await file.sync();
  } finally {
    await file.close();
  }
}

const textOf = (metadata: RuntimeMetadata): string =>
  `${JSON.stringify(RuntimeMetadata.parse(metadata), null, 2)}\n`;
