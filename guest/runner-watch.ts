import { type FSWatcher, readdirSync, readFileSync, watch } from 'node:fs';
import { join } from 'node:path';
import type { GuestPlatform } from './platform.ts';
import { NO_RUNNER, nextTrack, type RunnerTrack, runnerNameOf } from './runner-state.ts';

/** A look is due this long after the last one at the latest; events of the file system bring it forward. */
const IDLE_LOOK_MS = 2_000;
const BUSY_LOOK_MS = 1_000;
/** Events come in bursts; one look serves the burst. */
const SETTLE_MS = 50;
const MAX_WATCHED = 32;
const MAX_SUBDIRECTORIES = 64;

/**
 * Follows the Actions runner until it has finished. `onChange` is called with every track whose state or name
 * differs from the last one.
 */
export function watchRunner(platform: GuestPlatform, onChange: (track: RunnerTrack) => void): void {
  let track = NO_RUNNER;
  let timer: NodeJS.Timeout | undefined;
  let looking = false;
  let lookAgain = false;
  const watched = createWatchSet(() => schedule(SETTLE_MS));

  const schedule = (delayMs: number): void => {
    if (looking) {
      lookAgain = true;
      return;
    }
    clearTimeout(timer);
    timer = setTimeout(() => void look(), delayMs);
  };
  const look = async (): Promise<void> => {
    looking = true;
    lookAgain = false;
    const roots = candidateRoots(platform.runnerHomes(), track.root);
    const next = nextTrack(track, {
      processes: await platform.runnerProcesses(),
      configuredAs: configuredName(roots),
    });
    const changed = next.state !== track.state || next.runnerName !== track.runnerName;
    track = next;
    if (changed) onChange(track);
    looking = false;
    if (track.state === 'Finished') return watched.close();
    watched.set([...platform.runnerHomes(), ...roots.flatMap((root) => [root, join(root, '_diag')])]);
    schedule(lookAgain ? SETTLE_MS : track.state === 'NoRunner' ? IDLE_LOOK_MS : BUSY_LOOK_MS);
  };
  void look();
}

/** Directories where a runner's files may lie: the homes, what lies in them, and where a listener was seen. */
function candidateRoots(homes: readonly string[], seen: string | undefined): readonly string[] {
  const below = homes.flatMap((home) => {
    try {
      return readdirSync(home, { withFileTypes: true })
        .filter((entry) => entry.isDirectory() && entry.name.toLowerCase().includes('runner'))
        .slice(0, MAX_SUBDIRECTORIES)
        .map((entry) => join(home, entry.name));
    } catch {
      return [];
    }
  });
  return [...new Set([...(seen === undefined ? [] : [seen]), ...homes, ...below])];
}

function configuredName(roots: readonly string[]): string | undefined {
  for (const root of roots) {
    try {
      const name = runnerNameOf(readFileSync(join(root, '.runner'), 'utf8'));
      if (name !== undefined) return name;
    } catch {
      // Not a runner's directory.
    }
  }
  return undefined;
}

/** Watches a changing set of directories; those that do not exist are left out until asked for again. */
function createWatchSet(onEvent: () => void): { set(paths: readonly string[]): void; close(): void } {
  const watchers = new Map<string, FSWatcher>();
  const drop = (path: string): void => {
    watchers.get(path)?.close();
    watchers.delete(path);
  };
  return {
    set: (paths) => {
      const wanted = new Set(paths.slice(0, MAX_WATCHED));
      for (const path of watchers.keys()) if (!wanted.has(path)) drop(path);
      for (const path of wanted) {
        if (watchers.has(path)) continue;
        try {
          const watcher = watch(path, { persistent: false }, onEvent);
          watcher.on('error', () => drop(path));
          watchers.set(path, watcher);
        } catch {
          // Not there (yet).
        }
      }
    },
    close: () => {
      for (const path of [...watchers.keys()]) drop(path);
    },
  };
}
