import type { RunnerProcess } from './runner-processes.ts';
import type { Seed } from './seed.ts';

/** Address of the guest's network card. */
export interface GuestAddress {
  readonly mac: string;
  readonly ip: string;
}

/** What the agent needs of the operating system it runs in. */
export interface GuestPlatform {
  /** Path of the whole-disk device with this serial; undefined while there is none. */
  findDisk(serial: string): Promise<string | undefined>;
  /**
   * Makes the machine the one that the seed describes (host key, authorized keys, host name, identity) and lets
   * the SSH server start, unless the boot has done so already. Idempotent. Rejects where any part fails; the SSH
   * server is not started then.
   */
  identify(seed: Seed): Promise<void>;
  /** Whether something listens on the SSH port. */
  sshListening(): Promise<boolean>;
  /** One line on the machine's console, for people. Never a secret. */
  say(line: string): void;
  /** Of the first network card that has an address; undefined while there is none. */
  address(): GuestAddress | undefined;
  /** Gives the agent the usual priority, where it was started with a lower one to let SSH go first. */
  raisePriority(): void;
  /** An id that lasts as long as the kernel runs. */
  bootId(): string;
  /** The processes that belong to an Actions runner. */
  runnerProcesses(): Promise<readonly RunnerProcess[]>;
  /** Directories in which an Actions runner may be installed, as they exist now. */
  runnerHomes(): readonly string[];
}
