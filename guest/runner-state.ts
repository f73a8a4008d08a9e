import type { GuestRunnerState } from './protocol.ts';
import type { RunnerProcess } from './runner-processes.ts';

/** What one look at the machine found. */
export interface RunnerSighting {
  readonly processes: readonly RunnerProcess[];
  /** Name from the `.runner` file; undefined where no runner is configured. */
  readonly configuredAs: string | undefined;
}

/** What is known of the Actions runner after all looks so far. */
export interface RunnerTrack {
  readonly state: GuestRunnerState;
  readonly runnerName?: string | undefined;
  /** Directory of the listener that was seen. */
  readonly root?: string | undefined;
  /** Looks in a row that found nothing of a runner that had been there. */
  readonly missed: number;
}

export const NO_RUNNER: RunnerTrack = { state: 'NoRunner', missed: 0 };

/** One look may fall between a process's end and its successor's start; two in a row do not. */
const MISSES_TO_FINISH = 2;

/**
 *     NoRunner ──configured──► Starting ──listener──► Idle ◄──worker──► Running
 *         └──────────────listener, worker──────────────┴──── all gone ────┘──► Finished
 *
 * Finished is final: a VM is for one runner. While the runner's own scripts are there the listener is only
 * being restarted (it updates itself), so the state stays.
 */
export function nextTrack(track: RunnerTrack, sighting: RunnerSighting): RunnerTrack {
  if (track.state === 'Finished') return track;
  const runnerName = sighting.configuredAs ?? track.runnerName;
  const listener = sighting.processes.find((process) => process.role === 'listen');
  const worker = sighting.processes.find((process) => process.role === 'work');
  const root = listener?.root ?? worker?.root ?? track.root;
  if (worker !== undefined) return { state: 'Running', runnerName, root, missed: 0 };
  if (listener !== undefined) return { state: 'Idle', runnerName, root, missed: 0 };
  if (track.state === 'Idle' || track.state === 'Running') {
    const restarting = sighting.processes.some(
      (process) => process.role === 'wrapper' && process.root === track.root,
    );
    if (restarting) return { ...track, runnerName, missed: 0 };
    const missed = track.missed + 1;
    return { ...track, runnerName, state: missed < MISSES_TO_FINISH ? track.state : 'Finished', missed };
  }
  const starting =
    sighting.configuredAs !== undefined || sighting.processes.some(({ role }) => role === 'configure');
  return { state: starting ? 'Starting' : 'NoRunner', runnerName, root, missed: 0 };
}

/** The runner's name from the text of its `.runner` file; undefined while that is not whole. */
export function runnerNameOf(file: string): string | undefined {
  try {
    // The runner writes the file with a byte order mark.
    const settings: unknown = JSON.parse(file.replace(/^\uFEFF/, ''));
    if (typeof settings !== 'object' || settings === null || !('agentName' in settings)) return undefined;
    const name = settings.agentName;
    return typeof name === 'string' && name !== '' && name.length <= 256 ? name : undefined;
  } catch {
    return undefined;
  }
}
