import type { RunnerProcess } from './runner-processes.ts';
import type { Seed } from './seed.ts';

/** Address of the guest's network card. */
export interface GuestAddress {
  readonly mac: string;
  readonly ip: string;
}

/**
 * What the agent needs of the operating system it runs in. `install`, `openSsh` and `say` are synchronous:
 * they are all that happens at that moment, and each turn of the event loop is paid for in time to SSH.
 */
export interface GuestPlatform {
  /** Path of the whole-disk device with this serial; undefined while there is none. */
  findDisk(serial: string): Promise<string | undefined>;
  /** Whether this boot's seed was installed already, by an agent that ran before this one. */
  installed(): boolean;
  /**
   * Makes the machine the one that the seed describes: host key, authorized keys, host name, identity.
   * Idempotent. Throws where any part fails; SSH must not be opened then.
   */
  install(seed: Seed): void;
  /** Lets the SSH server start. Idempotent. */
  openSsh(): void;
  /** Whether something listens on the SSH port. */
  sshListening(): Promise<boolean>;
  /** One line on the machine's console, for people. Never a secret. */
  say(line: string): void;
  /** Of the first network card that has an address; undefined while there is none. */
  address(): GuestAddress | undefined;
  /** An id that lasts as long as the kernel runs. */
  bootId(): string;
  /** The processes that belong to an Actions runner. */
  runnerProcesses(): Promise<readonly RunnerProcess[]>;
  /** Directories in which an Actions runner may be installed, as they exist now. */
  runnerHomes(): readonly string[];
}
