const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/**
 * Milliseconds for people, two units at most: 21 ms, 4.2 s, 3 min 20 s, 2 h 5 min. A time that is known to the
 * second only is not `exact`, and shows no part of one.
 */
export function inWords(ms: number, { exact = true }: { readonly exact?: boolean } = {}): string {
  if (ms < SECOND) return exact ? `${Math.round(ms)} ms` : 'under 1 s';
  if (ms < 10 * SECOND && exact) return `${tenths(ms)} s`;
  if (ms < MINUTE) return `${Math.floor(ms / SECOND)} s`;
  if (ms < HOUR) return pair(ms, MINUTE, 'min', SECOND, 's');
  if (ms < DAY) return pair(ms, HOUR, 'h', MINUTE, 'min');
  return pair(ms, DAY, 'd', HOUR, 'h');
}

const tenths = (ms: number): string => (Math.floor(ms / 100) / 10).toFixed(1);

function pair(ms: number, large: number, largeName: string, small: number, smallName: string): string {
  const rest = Math.floor((ms % large) / small);
  const head = `${Math.floor(ms / large)} ${largeName}`;
  return rest === 0 ? head : `${head} ${rest} ${smallName}`;
}
