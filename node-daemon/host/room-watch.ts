import type { Clock, Timer } from '../../kube/clock.ts';
import type { Logger } from '../../kube/log.ts';
import { type DiskRoom, judgeRoom } from './disk-room.ts';
import { readVolume, type VolumeRoom } from './machine.ts';

/** No filesystem tells when its room changes: it has to be asked. */
const INTERVAL_MS = 15_000;

export interface RoomWatchOptions {
  readonly root: string;
  readonly clock: Clock;
  readonly log: Logger;
  changed(): void;
  readonly read?: ((path: string) => Promise<VolumeRoom>) | undefined;
}

/** Watches the room on the host root's volume. What cannot be read leaves the last verdict as it is. */
export class RoomWatch {
  readonly #options: RoomWatchOptions;
  #room: DiskRoom | undefined;
  #volume: VolumeRoom | undefined;
  #timer: Timer | undefined;
  #stopped = false;

  constructor(options: RoomWatchOptions) {
    this.#options = options;
  }

  /** Until the room was read there is enough: a VM that finds none says so itself. */
  room(): DiskRoom {
    return this.#room ?? { enough: true, neededBytes: 0 };
  }

  /** As it was last read; undefined before. */
  volume(): VolumeRoom | undefined {
    return this.#volume;
  }

  /** Returns after the first look. */
  async start(): Promise<void> {
    await this.#look();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #look(): Promise<void> {
    const { root, clock, log, changed } = this.#options;
    const before = this.#room;
    try {
      this.#volume = await (this.#options.read ?? readVolume)(root);
      this.#room = judgeRoom(this.#volume, before);
    } catch (error) {
      log.warn({ err: error }, `${root}: the room on its volume cannot be read`);
    }
    if (this.#stopped) return;
    this.#timer = clock.setTimeout(() => void this.#look(), INTERVAL_MS);
    if (this.room().enough === (before?.enough ?? true)) return;
    if (this.room().enough) log.info({}, `${root}: there is room for VMs again`);
    else log.error({}, `${root}: no VM is started: there is too little room on its volume`);
    changed();
  }
}
