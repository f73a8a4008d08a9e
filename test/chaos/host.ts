import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { bundlePaths } from '../../node-daemon/vm/bundle.ts';
import type { BundlePaths } from '../../node-daemon/vm/driver.ts';
import { processesNaming } from '../harness/processes.ts';
import type { DaemonProgramOptions } from './daemon-program.ts';
import { ChaosProcess } from './process.ts';

export type HostOptions = DaemonProgramOptions;

const REMOVAL_TRIES = 50;

/** One machine: a host root, its daemon, its VMs. */
export class ChaosHost {
  readonly name: string;
  readonly root: string;
  readonly subnet: string;
  readonly daemon: ChaosProcess<DaemonProgramOptions>;

  constructor(options: HostOptions) {
    this.name = options.hostName;
    this.root = options.hostRoot;
    this.subnet = options.subnet;
    this.daemon = new ChaosProcess('daemon-program.ts', options);
  }

  async bundles(): Promise<string[]> {
    return await readdir(join(this.root, 'runners'));
  }

  paths(uid: string, attempt = 1): BundlePaths {
    return bundlePaths(this.root, uid, attempt);
  }

  /** Of this machine, or of one bundle on it. */
  async vmPids(bundle = ''): Promise<number[]> {
    return await processesNaming(join(this.root, 'runners/', bundle));
  }

  /** kill -9 of VMs and all that they started. */
  async killVms(bundle?: string): Promise<void> {
    for (const pid of await this.vmPids(bundle)) {
      try {
        process.kill(-pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    }
  }

  /** Everything that runs is gone at once, the daemon first, and the kernel is another one afterwards. */
  async reboot(): Promise<void> {
    await this.daemon.kill9();
    await this.killVms();
    this.daemon.configure({ bootId: `boot-${process.hrtime.bigint()}` });
    await this.daemon.start();
  }

  /** Ends everything on this machine and removes it. */
  async destroy(): Promise<void> {
    await this.daemon.kill9();
    for (let left = REMOVAL_TRIES; ; left -= 1) {
      await this.killVms();
      try {
        await rm(this.root, { recursive: true, force: true });
        return;
      } catch (error) {
        // A VM that had been spawned and was not yet to be seen writes its log.
        if (left === 0) throw error;
        await delay(100);
      }
    }
  }
}
