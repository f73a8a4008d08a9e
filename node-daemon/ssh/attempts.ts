/**
 * When to try to reach an SSH server that is expected to appear. Pure: the times are passed in.
 *
 * What makes this more than a loop: a port forwarded by a hypervisor takes a connection at once though nothing
 * listens in the guest. Such an attempt may hang until the guest is up or be reset, and one made a moment
 * before the guest's network was up is never answered. So attempts overlap. But each one that reaches a server
 * costs it a process, which an emulated guest feels, so they overlap no more than they must:
 *
 * - nothing answers: a new attempt every `intervalMs`, a few older ones still waiting; less often as time goes by;
 * - the guest's network answers, but no server listens: a new attempt `intervalMs` after the last was refused;
 * - an attempt is silent after the guest had answered: a server is likely at work on it, and gets time;
 * - a server has begun to speak: those still silent are given up, and none joins it until it is overdue.
 */

/** One connection that is being made. */
export interface Attempt {
  readonly id: number;
  readonly startedAt: number;
  /** When the server began to speak. */
  readonly greetedAt?: number | undefined;
}

/** What is known, on a monotonic clock in milliseconds. */
export interface AttemptsState {
  /** In the order in which they were started. */
  readonly open: readonly Attempt[];
  /** When the first attempt was started. */
  readonly firstStart?: number | undefined;
  /** When the last attempt was started. */
  readonly lastStart?: number | undefined;
  /** When the guest was last known to be up: it reset an attempt, spoke or reported. */
  readonly answeredAt?: number | undefined;
  /** When the last attempt ended; a server's refusal of the login counts with the longer pause. */
  readonly lastFailure?: { readonly at: number; readonly refusal: boolean } | undefined;
  /** The guest reported and no attempt has been made since. */
  readonly nudged: boolean;
}

export interface NextStep {
  readonly start: boolean;
  /** Attempts to give up. */
  readonly close: readonly number[];
  /** When to ask again, if nothing happens before. */
  readonly wakeInMs: number;
}

/** While nothing at all answers, the pause between attempts is this part of the time since the first one … */
export const BLIND_PART = 0.01;
/** … but no longer than this. */
export const BLIND_LIMIT_MS = 500;
/** Between attempts however often the guest reports. */
export const MIN_INTERVAL_MS = 50;
/** How long a silent attempt stays alone once the guest is known to be up. */
export const PATIENCE_MS = 1_000;
/** How long the guest counts as up after its last sign of life. */
export const ANSWER_TTL_MS = 3_000;
/** Limit for an attempt to be spoken to. */
export const SILENCE_LIMIT_MS = 3_000;
/** Every sixteenth attempt is given longer, for a guest so slow that no other would be served. */
export const PATIENT_EVERY = 16;
export const PATIENT_SILENCE_LIMIT_MS = 20_000;
/**
 * Of the attempts that nothing has answered only the newest are kept, and the oldest that is given longer: what a
 * hypervisor holds back until the guest is up, it delivers to the server all at once.
 */
export const MAX_SILENT = 3;
/** Limit from the server's first byte to the end of the login. */
export const LOGIN_LIMIT_MS = 20_000;
/** How long a login that is under way stays alone. */
export const HEDGE_MS = 3_000;
/** Pause after a server refused the login: it has not finished booting, or never will let us in. */
export const REFUSAL_PAUSE_MS = 500;

/** What to do now. */
export function nextStep(state: AttemptsState, intervalMs: number, now: number): NextStep {
  const served = state.open.some(({ greetedAt }) => greetedAt !== undefined);
  const kept = served ? [] : keptSilent(state.open.filter((attempt) => deadline(attempt) > now));
  const isOver = (attempt: Attempt): boolean =>
    deadline(attempt) <= now || (attempt.greetedAt === undefined && !kept.includes(attempt));
  const open = state.open.filter((attempt) => !isOver(attempt));
  const due = startDue({ ...state, open }, intervalMs);
  const start = due <= now;
  const nextStart = start ? now + MIN_INTERVAL_MS : due;
  return {
    start,
    close: state.open.filter(isOver).map(({ id }) => id),
    wakeInMs: Math.max(1, Math.min(nextStart, ...open.map(deadline)) - now),
  };
}

function keptSilent(open: readonly Attempt[]): readonly Attempt[] {
  const silent = open.filter(({ greetedAt }) => greetedAt === undefined);
  const patient = silent.find(isPatient);
  const others = silent.filter((attempt) => attempt !== patient).slice(-MAX_SILENT);
  return patient === undefined ? others : [patient, ...others];
}

const isPatient = ({ id }: Attempt): boolean => id % PATIENT_EVERY === 0;

/** When an attempt is given up. */
function deadline(attempt: Attempt): number {
  const { startedAt, greetedAt } = attempt;
  if (greetedAt !== undefined) return greetedAt + LOGIN_LIMIT_MS;
  return startedAt + (isPatient(attempt) ? PATIENT_SILENCE_LIMIT_MS : SILENCE_LIMIT_MS);
}

/** When the next attempt is due, as things stand. */
function startDue(state: AttemptsState, intervalMs: number): number {
  const { open, lastStart, lastFailure, nudged } = state;
  if (lastStart === undefined) return 0;
  const greeted = open.flatMap(({ greetedAt }) => greetedAt ?? []);
  if (greeted.length > 0) return Math.max(lastStart, ...greeted) + HEDGE_MS;
  if (nudged) return lastStart + MIN_INTERVAL_MS;
  const pause = lastFailure?.refusal === true ? REFUSAL_PAUSE_MS : intervalMs;
  const afterFailure = lastFailure === undefined ? 0 : lastFailure.at + pause;
  const newestIsOpen = open.some(({ startedAt }) => startedAt === lastStart);
  return newestIsOpen
    ? Math.max(afterFailure, lastStart + overlapAfter(state, lastStart, intervalMs))
    : afterFailure;
}

/** How long the newest attempt, which is silent, is waited for before another joins it. */
function overlapAfter(state: AttemptsState, newest: number, intervalMs: number): number {
  const { answeredAt, firstStart = newest } = state;
  const guestIsUp = answeredAt !== undefined && answeredAt <= newest && newest - answeredAt < ANSWER_TTL_MS;
  if (guestIsUp) return PATIENCE_MS;
  return Math.max(intervalMs, Math.min(BLIND_LIMIT_MS, (newest - firstStart) * BLIND_PART));
}
