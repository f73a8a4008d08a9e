export interface BackoffOptions {
  readonly baseMs: number;
  readonly maxMs: number;
}

/**
 * Delay before try number `failures` + 1 (failures ≥ 1): doubled each time, capped, and of that a random half
 * to whole, so that many clients do not come back at once. `random` gives [0, 1).
 */
export function backoffMs(failures: number, options: BackoffOptions, random: () => number): number {
  const full = Math.min(options.maxMs, options.baseMs * 2 ** Math.min(failures - 1, 52));
  return full * (0.5 + random() / 2);
}
