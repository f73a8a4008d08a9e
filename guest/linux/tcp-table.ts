const LISTEN = '0A';

/** Whether a table in the format of /proc/net/tcp has a listener on the port. */
export function listens(table: string, port: number): boolean {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  return table.split('\n').some((line) => {
    const [, local, , state] = line.trim().split(/\s+/);
    return state === LISTEN && local?.endsWith(suffix) === true;
  });
}
