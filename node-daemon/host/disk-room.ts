import type { VolumeRoom } from './machine.ts';

const GIB = 2 ** 30;
/** Below this much room no VM is started: 5 % of the volume, 2 GiB where that is less. */
const LOW = { share: 0.05, most: 2 * GIB } as const;
/** How many times that must be free again before VMs are started: the gap keeps the verdict from fluttering. */
const RECOVERED = 2;

/** Whether there is room to start VMs, and what a person is told. */
export interface DiskRoom {
  readonly enough: boolean;
  readonly neededBytes: number;
}

/**
 * Judges the room on the host root's volume. `before` is the last verdict: a volume that ran low counts as
 * low until twice the least room is free.
 */
export function judgeRoom(volume: VolumeRoom, before: DiskRoom | undefined): DiskRoom {
  const least = Math.min(volume.totalBytes * LOW.share, LOW.most);
  const neededBytes = Math.floor(before?.enough === false ? least * RECOVERED : least);
  return { enough: volume.freeBytes >= neededBytes, neededBytes: Math.floor(least * RECOVERED) };
}
