import { openSync, writeFileSync, writeSync } from 'node:fs';

/** The SSH server's start script goes on when it can read a line from the FIFO, or at once if the file is there. */
const GATE = '/run/shoesvz/ssh-gate';
const OPEN = '/run/shoesvz/ssh-open';

/**
 * The FIFO is opened for reading too, so that this never blocks, and is never closed: what was written stays
 * readable for a start script that comes later.
 */
export function openSshGate(): void {
  writeFileSync(OPEN, '');
  writeSync(openSync(GATE, 'r+'), 'open\n');
}
