import type { ChildProcess } from 'node:child_process';
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import type { Moments } from './moments.ts';

const SPAWN_END = 'tracing:child_process.spawn:end';
const BUNDLE = /runners\/([0-9a-f-]{36})\.[0-9]+\.bundle/;

/**
 * Stamps what this process does with the VMs' processes, by Runner UID: `<uid> spawned`, `<uid> killed` (the
 * signal sent), `<uid> ended` (the operating system said so), and `<uid> overlay begun` and `<uid> overlay made`
 * around qemu-img. Returns the way out.
 */
export function watchVmProcesses(moments: Moments, onSpawned: (uid: string) => void): () => void {
  const uidOfPid = new Map<number, string>();
  const spawned = (message: unknown): void => {
    const at = performance.now();
    const child = (message as { readonly process: ChildProcess }).process;
    const uid = BUNDLE.exec(child.spawnargs.join(' '))?.[1];
    if (uid === undefined) return;
    const isVm = child.spawnargs.some((arg) => arg.includes('control.sock'));
    moments.stamp(`${uid} ${isVm ? 'spawned' : 'overlay begun'}`, at);
    child.once('exit', () => moments.stamp(`${uid} ${isVm ? 'ended' : 'overlay made'}`));
    if (!isVm) return;
    child.once('spawn', () => {
      if (child.pid !== undefined) uidOfPid.set(child.pid, uid);
    });
    onSpawned(uid);
  };
  const kill = process.kill.bind(process);
  process.kill = (pid, signal) => {
    const uid = uidOfPid.get(Math.abs(pid));
    if (uid !== undefined && signal !== 0) moments.stamp(`${uid} killed`);
    return kill(pid, signal);
  };
  subscribe(SPAWN_END, spawned);
  return () => {
    unsubscribe(SPAWN_END, spawned);
    process.kill = kill;
  };
}
