import { watch } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';

/**
 * What a guest's console says when its SSH server has begun to listen: dropbear's own line right after listen(2),
 * or the agent's, whichever comes first. The agent's comes later where the agent starts after SSH.
 */
export const SSHD_LISTENING = /Not backgrounding|shoesvz: sshd listening/;
/** The agent's line alone: the guest has then finished starting. */
export const AGENT_UP = /shoesvz: sshd listening/;

const POLL_MS = 250;

/**
 * Follows a console's log and calls back each time that it grew, with all of it: at once, by file events. The
 * directory must be there, the log need not. Returns the way out.
 */
export function followConsole(serialLog: string, onText: (text: string) => void): () => void {
  let text = '';
  let position = 0;
  let reading = false;
  let again = false;
  const read = async (): Promise<void> => {
    const file = await open(serialLog, 'r');
    try {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(65_536), 0, 65_536, position);
      if (bytesRead === 0) return;
      position += bytesRead;
      text += buffer.toString('latin1', 0, bytesRead);
      again = true;
      onText(text);
    } finally {
      await file.close();
    }
  };
  const look = async (): Promise<void> => {
    again = true;
    if (reading) return;
    reading = true;
    while (again) {
      again = false;
      await read().catch(() => undefined);
    }
    reading = false;
  };
  const watcher = watch(dirname(serialLog), () => void look());
  watcher.on('error', () => undefined);
  // Only for file events that were lost: what is read then is read late, and counts against us.
  const timer = setInterval(() => void look(), POLL_MS);
  void look();
  return () => {
    watcher.close();
    clearInterval(timer);
  };
}
